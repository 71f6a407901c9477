"""What a reconstruction takes, part by part."""

import os
import time
from collections.abc import Sequence
from statistics import median
from typing import Any

import torch

from gslrm.data.masks import read_view
from gslrm.data.placed_sample import PlacedSample, mask_policy
from gslrm.data.sample import Sample
from gslrm.model.hull_gslrm import HullGSLRM
from gslrm.model.hull_guide import look, shrink
from gslrm.reconstruct import Reconstruction, Reconstructor

PARTS = ("read", "normalise", "hull", "network", "render")
RECONSTRUCTION = ("read", "normalise", "hull", "network")


def measure_seconds(
    reconstructor: Reconstructor, cases: Sequence[tuple[Sample, tuple[int, ...]]], every: tuple[int, ...]
) -> dict[str, Any]:
    """Medians over samples (with their views to render) of wall-clock seconds, by part.

    The first sample goes by once before, for what compiles once.

    `read` decodes all input views, `normalise` places and resamples them, `hull` marches their rays, `network` is the
    rest of the forward pass, `render` one picture at the size of the held-out views.
    """
    timed = [time_parts(reconstructor, sample, every, targets) for sample, targets in (cases[0], *cases)][1:]
    return {
        "samples": len(timed),
        "parts": {part: median(parts[part] for parts in timed) for part in PARTS},
        "reconstruction": median(sum(parts[part] for part in RECONSTRUCTION) for parts in timed),
        "forward": median(parts["hull"] + parts["network"] for parts in timed),
        "device": reconstructor.runtime.device.type,
        "precision": str(reconstructor.runtime.amp_dtype or torch.float32).removeprefix("torch."),
        "processors": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "threads": torch.get_num_threads(),
        "load": round(os.getloadavg()[0], 1) if hasattr(os, "getloadavg") else None,
    }


def time_parts(
    reconstructor: Reconstructor, sample: Sample, every: tuple[int, ...], targets: tuple[int, ...]
) -> dict[str, float]:
    """Seconds of each part for one sample."""
    policy = mask_policy(reconstructor.dataset, reconstructor.config.mouse)
    began = time.perf_counter()
    stored = [read_view(view, policy) for view in sample.select(every)]
    read = time.perf_counter()
    placed = reconstructor.place(sample, every, stored=stored)
    normalised = time.perf_counter()
    hull = _hull_seconds(reconstructor, placed)
    started = time.perf_counter()
    reconstruction = reconstructor.reconstruct(placed)
    reconstruction.gaussians.opacities.sum().item()  # waits for a device that works on its own
    finished = time.perf_counter()
    rendered = _render_seconds(reconstructor, reconstruction, targets)
    forward = finished - started
    return {
        "read": read - began,
        "normalise": normalised - read,
        "hull": min(hull, forward),
        "network": max(forward - hull, 0.0),
        "render": rendered,
    }


def _hull_seconds(reconstructor: Reconstructor, placed: PlacedSample) -> float:
    """The part of the forward pass that needs no weights, timed by itself; 0 of models that have none."""
    if not isinstance(reconstructor.model, HullGSLRM):
        return 0.0
    config = reconstructor.config.model.hull
    views = placed.input.to(reconstructor.runtime.device).float()
    began = time.perf_counter()
    look(views, shrink(views, config.detail), config).coverage.sum().item()
    return time.perf_counter() - began


def _render_seconds(reconstructor: Reconstructor, reconstruction: Reconstruction, targets: tuple[int, ...]) -> float:
    """Of one picture, the mean of all targets; it comes back to the processor, so it is there when the clock stops."""
    began = time.perf_counter()
    for view in reconstruction.placed.sample.select(targets):
        reconstructor.render(reconstruction, view.camera)
    return (time.perf_counter() - began) / len(targets)
