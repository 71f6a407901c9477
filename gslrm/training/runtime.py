"""Device, precision and seeds, decided once."""

import contextlib
import os
import random
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from gslrm.config import Config, RuntimeConfig
from gslrm.errors import UserError
from gslrm.training.compilation import require_compiler

CUBLAS_WORKSPACE = "CUBLAS_WORKSPACE_CONFIG"
REPRODUCIBLE_WORKSPACES = (":4096:8", ":16:8")  # with which cuBLAS always adds in the same order; 24 MB or 128 kB
AMP_DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16, "fp32": None}


@dataclass(frozen=True)
class Runtime:
    """Where and how precisely the network runs."""

    device: torch.device
    amp_dtype: torch.dtype | None
    """Type of the transformer's matrix products; none is float32."""

    def autocast(self) -> contextlib.AbstractContextManager[None]:
        """Context in which the network's forward pass runs."""
        if self.amp_dtype is None:
            return contextlib.nullcontext()
        return torch.autocast(self.device.type, dtype=self.amp_dtype)

    @property
    def needs_scaler(self) -> bool:
        """Whether gradients must be scaled against underflow, which float16 alone needs."""
        return self.amp_dtype is torch.float16


def require_machine(config: Config) -> None:
    """Tell what a training asks of this machine in vain, before anything is read or built.

    Raises:
        UserError: a device, a type, a compiler or reproducible results cannot be had.
    """
    options = config.training.runtime
    runtime = build_runtime(options)
    if options.deterministic and runtime.device.type != "cpu" and config.render.backend != "cpu":
        raise UserError(
            "training.runtime.deterministic needs render.backend: cpu on a card: gsplat's threads add up gradients in "
            "the order in which they come"
        )
    if options.torch_compile:
        require_compiler()


def build_runtime(config: RuntimeConfig) -> Runtime:
    """Ask the machine, and set the global numeric switches.

    Raises:
        UserError: a device or type was asked for that is not there, or results that do not depend on timing can no
            longer be had.
    """
    device = choose_device(config.device)
    if config.deterministic and device.type == "cuda":
        _reserve_reproducible_workspace()
    torch.use_deterministic_algorithms(config.deterministic)
    if device.type == "cuda":
        torch.backends.cudnn.benchmark = False  # it would choose algorithms by their time
        torch.backends.cuda.matmul.allow_tf32 = config.use_tf32
        torch.backends.cudnn.allow_tf32 = config.use_tf32
    if not config.use_amp:
        return Runtime(device, None)
    name = native_amp_dtype(device) if config.amp_dtype == "auto" else config.amp_dtype
    if name == "fp16" and device.type == "cpu":
        raise UserError(
            "training.runtime.amp_dtype is fp16, which needs CUDA, and this runs on a CPU; add "
            "--set training.runtime.amp_dtype=auto"
        )
    return Runtime(device, AMP_DTYPES[name])


def _reserve_reproducible_workspace() -> None:
    """Tell cuBLAS before it starts, which is the only time it listens."""
    if os.environ.get(CUBLAS_WORKSPACE) in REPRODUCIBLE_WORKSPACES:
        return
    if CUBLAS_WORKSPACE in os.environ or torch.cuda.is_initialized():
        raise UserError(
            f"training.runtime.deterministic needs {CUBLAS_WORKSPACE} to be set before CUDA starts; "
            f"export {CUBLAS_WORKSPACE}={REPRODUCIBLE_WORKSPACES[0]} and start again"
        )
    os.environ[CUBLAS_WORKSPACE] = REPRODUCIBLE_WORKSPACES[0]


def choose_device(name: str) -> torch.device:
    """The device of a name; `auto` takes CUDA when there is a card. Under torchrun each process has its own card.

    Raises:
        UserError: CUDA was asked for and is not there, or there are fewer cards than processes.
    """
    if name == "cuda" and not torch.cuda.is_available():
        raise UserError("device cuda: no CUDA device is visible to torch; use auto or cpu, or run scripts/doctor.py")
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    return torch.device(name) if name == "cpu" else _own_card()


def _own_card() -> torch.device:
    """The card of this process: that of torchrun's LOCAL_RANK, or the first one."""
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        return torch.device("cuda")
    index, cards = int(os.environ.get("LOCAL_RANK", "0")), torch.cuda.device_count()
    if index >= cards:
        raise UserError(
            f"process {index} of this machine has no card of its own, there are {cards}: torchrun --nproc-per-node "
            f"{cards}; or set training.runtime.device: cpu"
        )
    torch.cuda.set_device(index)
    return torch.device("cuda", index)


def native_amp_dtype(device: torch.device) -> str:
    """bf16 where the hardware multiplies it natively, else fp32."""
    if device.type == "cuda":
        return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp32"
    native = (getattr(torch.cpu, name, None) for name in ("_is_avx512_bf16_supported", "_is_amx_tile_supported"))
    return "bf16" if any(ask is not None and ask() for ask in native) else "fp32"


def seed_everything(seed: int) -> None:
    """Seed the global generators of Python, numpy and torch."""
    random.seed(seed)
    np.random.seed(seed % 2**32)
    torch.manual_seed(seed)


def seed_process(seed: int, *, rank: int, passes: int) -> None:
    """Seed the global generators of one of several processes from nothing but the run's seed, its rank and the pass."""
    seed_everything(int(np.random.SeedSequence([seed, rank, passes]).generate_state(1)[0]))


def random_state() -> dict[str, Any]:
    """The global generators' states as plain values and tensors, so that they load with weights_only."""
    kind, keys, position, has_gauss, cached = np.random.get_state()
    cuda = torch.cuda.get_rng_state_all() if torch.cuda.is_available() else []
    return {
        "python": random.getstate(),
        "numpy": (kind, torch.from_numpy(np.asarray(keys).astype(np.int64)), position, has_gauss, cached),
        "torch": torch.get_rng_state(),
        "cuda": cuda,
    }


def restore_random_state(state: dict[str, Any]) -> None:
    """Undo `random_state`."""
    version, internal, gauss = state["python"]
    random.setstate((version, tuple(internal), gauss))
    kind, keys, position, has_gauss, cached = state["numpy"]
    np.random.set_state((kind, keys.numpy().astype(np.uint32), position, has_gauss, cached))
    torch.set_rng_state(state["torch"])
    if torch.cuda.is_available() and len(state["cuda"]) == torch.cuda.device_count():
        torch.cuda.set_rng_state_all(state["cuda"])
