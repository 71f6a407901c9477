"""Where a run is to take place: the memory there, and the speed."""

import os
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch

from gslrm.config import RuntimeConfig
from gslrm.training.runtime import AMP_DTYPES, choose_device, native_amp_dtype

GIB = 2**30
CARD_BASE = GIB // 2  # bytes of CUDA's context, its kernels and cuBLAS's workspaces; assumed
CARD_RETAINED = 0.1  # share of the peak that torch's allocator holds in pieces too small to be used; assumed
HOST_BASE = GIB // 2  # bytes of Python, torch and compiled kernels; 0.45 GiB measured by benchmarks/doctor.py
HOST_RETAINED = 0.4  # share of the peak that glibc keeps for later; 10 to 40 % measured there, LoRA apart
PROBE_SECONDS = 0.3
BUS_BANDWIDTH = 12e9  # bytes a second between a card and its host: PCIe 3 with 16 lanes, pinned memory; assumed
HOST_BANDWIDTH = 20e9  # of one host's memory; assumed
# An RTX 3060 by its data sheet: 25.6 TFLOP/s in half precision with sums in float32, 12.7 in float32 without TF32,
# 360 GB/s. Of these 60, 60 and 80 % are assumed to be reached.
CARD_FLOPS = {"half": 0.6 * 25.6e12, "single": 0.6 * 12.7e12}
CARD_BANDWIDTH = 0.8 * 360e9
CARD_SPLATS = 5e7  # Gaussians that gsplat draws and differentiates in a second and view; a guess
CPU_SPLATS = 3e6  # the same of the CPU rasterizer on one core, by docs/rasterizer.md


@dataclass(frozen=True)
class Speed:
    """What a device does in a second."""

    flops: float
    """Floating-point operations in matrix products."""
    bandwidth: float
    """Bytes read or written by elementwise operations."""
    splats: float
    """Gaussians drawn and differentiated, per view."""
    origin: str


@dataclass(frozen=True)
class Target:
    """A device."""

    name: str
    is_card: bool
    memory: int
    """Bytes."""
    amp: str
    """Type of matrix products under autocast: bf16, fp16 or fp32 for none."""
    speed: Speed
    base: int
    """Bytes that a process takes before it has made a tensor."""
    retained: float
    """Share of the peak of living tensors that the allocator holds besides."""

    @property
    def amp_dtype(self) -> torch.dtype | None:
        """The type as torch's; none without autocast."""
        return AMP_DTYPES[self.amp]

    def taken(self, peak: int) -> int:
        """Bytes of the device that a process with this peak of living tensors takes."""
        return round(peak * (1 + self.retained)) + self.base


def card(gibibytes: float, runtime: RuntimeConfig) -> Target:
    """A card that is not here, as fast as an RTX 3060 and with bf16."""
    amp = _amp(runtime, native="bf16")
    flops = CARD_FLOPS["single" if amp == "fp32" and not runtime.use_tf32 else "half"]
    speed = Speed(flops, CARD_BANDWIDTH, CARD_SPLATS, "assumed: 60 % of an RTX 3060's data sheet; nothing was measured")
    memory = round(gibibytes * GIB)
    return Target(f"a card of {gibibytes:g} GiB", True, memory, amp, speed, CARD_BASE, CARD_RETAINED)


def this_machine(runtime: RuntimeConfig) -> Target:
    """The device that a run here would take, after half a second of measuring how fast it is."""
    device = choose_device(runtime.device)
    amp = _amp(runtime, native=native_amp_dtype(device))
    memory, name = device_memory(device)
    speed = _probe(device, AMP_DTYPES[amp])
    if device.type != "cpu":
        return Target(name, True, memory, amp, speed, CARD_BASE, CARD_RETAINED)
    return Target(name, False, memory, amp, speed, HOST_BASE, HOST_RETAINED)


def device_memory(device: torch.device) -> tuple[int, str]:
    """Bytes, and of what."""
    if device.type != "cpu":
        properties = torch.cuda.get_device_properties(device)
        return properties.total_memory, properties.name
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"), "this machine's CPU"


def _amp(runtime: RuntimeConfig, *, native: str) -> str:
    if not runtime.use_amp:
        return "fp32"
    return native if runtime.amp_dtype == "auto" else runtime.amp_dtype


def _probe(device: torch.device, amp: torch.dtype | None) -> Speed:
    """Products and copies of the size that a block of the published model has."""
    left, right = torch.randn(1024, 1024, device=device), torch.randn(1024, 4096, device=device)
    left, right = left.to(amp or torch.float32), right.to(amp or torch.float32)
    flops = 2 * left.numel() * right.shape[1] * _rate(lambda: left @ right, device)
    source = torch.randn(2**24, device=device)
    target = torch.empty_like(source)
    bandwidth = 2 * source.numel() * source.element_size() * _rate(lambda: target.copy_(source), device)
    splats = CARD_SPLATS if device.type != "cpu" else CPU_SPLATS * torch.get_num_threads()
    return Speed(flops, bandwidth, splats, "measured here, but for the rasterizer")


def _rate(work: Callable[[], object], device: torch.device) -> float:
    """Repetitions in a second, the first not counted."""
    work()
    wait = torch.cuda.synchronize if device.type != "cpu" else lambda: None
    wait()
    count, start = 0, time.perf_counter()
    while time.perf_counter() - start < PROBE_SECONDS:
        work()
        wait()
        count += 1
    return count / (time.perf_counter() - start)
