"""What this machine can do, and what a configuration will ask of it."""

import os
import platform
import shutil
import sys
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path

import torch
from packaging.requirements import Requirement

from gslrm.config import Config
from gslrm.model import build_model
from gslrm.render import BatchRasterizer, build_rasterizer
from gslrm.training.log import has_wandb_login
from gslrm.training.runtime import choose_device, native_amp_dtype

OLDEST_PYTHON = (3, 10)
LOW_DISK_BYTES = 10 * 2**30  # a training run of the published size keeps three checkpoints of 3.4 GiB
ACTIVATIONS_PER_TOKEN = 16  # numbers of width d that a block keeps: 2 norms, q k v, 2 attention, 4 + 4 MLP, 1 out
GAUSSIAN_NUMBERS = 14 * 4  # raw, activated, and the gradients of both, at degree 0
PIXEL_NUMBERS = 5 * 4  # colour, alpha, depth; rendered, and kept by the losses


@dataclass(frozen=True)
class Finding:
    """One line of the report; with a `cure` it is a fault that must be repaired, with a `hint` it may be."""

    name: str
    value: str
    cure: str = ""
    hint: str = ""


@dataclass(frozen=True)
class Size:
    """What a configuration asks for, in numbers and bytes."""

    parameters: int
    tokens: int
    gaussians: int
    state_bytes: int
    activation_bytes: int


def examine_machine() -> list[Finding]:
    """Everything that decides whether and how commands run here."""
    device = choose_device("auto")
    return [_python(), *_packages(), _device(device), _precision(device), _rasterizer(), _wandb(), _ffmpeg(), _disk()]


def examine_config(config: Config) -> list[Finding]:
    """Size of the configured model and its training step; memory is a rough estimate, not a measurement."""
    size = estimate(config)
    total = size.state_bytes + size.activation_bytes
    there, where = _memory()
    hint = f"more than the {_gib(there)} of the {where}: smaller image_size or fewer views" if total > there else ""
    return [
        Finding("parameters", f"{size.parameters:,}"),
        Finding("tokens", f"{size.tokens:,} per sample"),
        Finding("Gaussians", f"{size.gaussians:,} per sample"),
        Finding("memory for training", f"about {_gib(total)} (rough estimate, not measured)", hint=hint),
        Finding("  weights, gradients, AdamW", _gib(size.state_bytes)),
        Finding("  activations, Gaussians, pictures", _gib(size.activation_bytes)),
    ]


def estimate(config: Config) -> Size:
    """Sizes by counting: the model is built without memory for its weights."""
    with torch.device("meta"):
        parameters = sum(parameter.numel() for parameter in build_model(config.model).parameters())
    side, patch = config.model.image_tokenizer.image_size, config.model.image_tokenizer.patch_size
    dataset, runtime, width = config.training.dataset, config.training.runtime, config.model.transformer.d
    tokens = config.model.gaussians.n_gaussians + dataset.num_input_views * (side // patch) ** 2
    gaussians = config.model.gaussians.n_gaussians + dataset.num_input_views * side**2
    layers, group = config.model.transformer.n_layer, runtime.grad_checkpoint_every
    number_bytes = 2 if runtime.use_amp and runtime.amp_dtype != "fp32" else 4
    kept_blocks = group or layers  # with checkpointing only one group's inside, and the residual between groups
    block_bytes = kept_blocks * ACTIVATIONS_PER_TOKEN * width * number_bytes
    residual_bytes = (layers / group if group else 0) * width * 4
    targets = dataset.num_target_views or dataset.num_views
    scene_bytes = tokens * (block_bytes + residual_bytes) + 4 * (
        gaussians * GAUSSIAN_NUMBERS + targets * side**2 * PIXEL_NUMBERS
    )
    batch = config.training.dataloader.batch_size_per_gpu
    return Size(parameters, tokens, gaussians, 16 * parameters, round(batch * scene_bytes))  # 4 numbers of 4 bytes each


def _python() -> Finding:
    cure = "" if sys.version_info >= OLDEST_PYTHON else "install Python 3.10 or newer"
    return Finding("python", f"{platform.python_version()} on {platform.system()} {platform.machine()}", cure)


def _packages() -> list[Finding]:
    try:
        wanted = [Requirement(text) for text in requires("mouse-facelift") or []]
    except PackageNotFoundError:
        return [Finding("mouse-facelift", "not installed", "python -m pip install -e . -c constraints.txt")]
    findings = []
    for requirement in wanted:
        needed = requirement.marker is None or requirement.marker.evaluate({"extra": ""})
        if needed or requirement.name in ("gsplat", "lpips"):
            findings.append(_package(requirement, needed=needed))
    return findings


def _package(requirement: Requirement, *, needed: bool) -> Finding:
    name, cure = requirement.name, f"python -m pip install '{requirement.name}{requirement.specifier}'"
    try:
        installed = version(name)
    except PackageNotFoundError:
        return Finding(name, "missing", cure) if needed else Finding(name, "not installed (optional)")
    if requirement.specifier.contains(installed, prereleases=True):
        return Finding(name, installed)
    return Finding(name, f"{installed}, but {requirement.specifier} is needed", cure)


def _device(device: torch.device) -> Finding:
    if device.type == "cuda":
        there, _ = _memory()
        return Finding("device", f"{torch.cuda.get_device_name()}, {_gib(there)}, CUDA {torch.version.cuda}")
    there, _ = _memory()
    value = f"CPU, {os.cpu_count()} cores, {torch.get_num_threads()} threads for torch, {_gib(there)}"
    if shutil.which("nvidia-smi") is None:
        return Finding("device", value)
    hint = (
        "a GPU driver is here, but torch cannot use it: bash setup_local_rtx3060.sh ENV_NAME picks a release that can"
    )
    return Finding("device", value, hint=hint)


def _precision(device: torch.device) -> Finding:
    native = native_amp_dtype(device)
    return Finding("precision", f"amp_dtype auto is {native}" + (" (no native bf16)" if native == "fp32" else ""))


def _rasterizer() -> Finding:
    import numba

    chosen = build_rasterizer("auto")
    name = chosen.rasterization.__module__.rpartition(".")[2] if isinstance(chosen, BatchRasterizer) else str(chosen)
    return Finding("rasterizer", f"{name}; numba may use {numba.config.NUMBA_NUM_THREADS} threads")


def _wandb() -> Finding:
    if has_wandb_login():
        return Finding("wandb login", "found: runs are logged online")
    return Finding("wandb login", "none: runs are logged offline (wandb login changes that)")


def _ffmpeg() -> Finding:
    import imageio_ffmpeg

    try:
        return Finding("ffmpeg", Path(imageio_ffmpeg.get_ffmpeg_exe()).name)
    except RuntimeError:
        return Finding("ffmpeg", "missing", "python -m pip install --force-reinstall imageio-ffmpeg")


def _disk() -> Finding:
    free = shutil.disk_usage(Path.cwd()).free
    hint = "little for checkpoints of a full-size model" if free < LOW_DISK_BYTES else ""
    return Finding("free disk here", _gib(free), hint=hint)


def _memory() -> tuple[int, str]:
    if torch.cuda.is_available():
        return torch.cuda.get_device_properties(0).total_memory, "GPU"
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"), "machine"


def _gib(size: int) -> str:
    return f"{size / 2**30:.1f} GiB"
