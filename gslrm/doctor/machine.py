"""What this machine can do."""

import os
import platform
import shutil
import sys
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path

import torch
from packaging.requirements import Requirement

from gslrm.doctor.finding import Finding, gib
from gslrm.doctor.target import device_memory
from gslrm.render import BatchRasterizer, build_rasterizer
from gslrm.training.log import has_wandb_login
from gslrm.training.runtime import choose_device, native_amp_dtype

OLDEST_PYTHON = (3, 10)
LOW_DISK_BYTES = 10 * 2**30  # a training run of the published size keeps three checkpoints of 3.4 GiB


def examine_machine() -> list[Finding]:
    """Everything that decides whether and how commands run here."""
    device = choose_device("auto")
    return [_python(), *_packages(), _device(device), _precision(device), _rasterizer(), _wandb(), _ffmpeg(), _disk()]


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
    there, name = device_memory(device)
    if device.type != "cpu":
        return Finding("device", f"{name}, {gib(there)}, CUDA {torch.version.cuda}")
    value = f"CPU, {os.cpu_count()} cores, {torch.get_num_threads()} threads for torch, {gib(there)}"
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
    return Finding("free disk here", gib(free), hint=hint)
