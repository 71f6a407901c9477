"""Make a data set of synthetic mice: calibrated views, masks and depth in FaceLift's layout.

A few samples in a few seconds, on any machine:

    python scripts/make_synthetic_mice.py --output /tmp/mice --num-samples 4 --seed 0 --size 128

Every sample has the six cameras of a random rig (cam_000..005). Samples for training add cameras from anywhere;
samples for validation add the cameras half-way between the rig's, which no sample for training has. Lengths are
millimetres, depth is 16-bit with value / 100 mm, masks are coverage, images lie on white.
"""

import argparse
import multiprocessing
import os
import shutil
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from gslrm.cli import report, run, track
from gslrm.errors import UserError

if TYPE_CHECKING:
    import numpy as np

    from gslrm.cameras import Cameras
    from gslrm.render import Rasterizer
    from gslrm.types import Gaussians

SUPERSAMPLING = 2  # pixels rendered per pixel and axis: edges of masks become true coverage
DEPTH_PER_MM = 100
MAX_SIZE = 1024
LISTS = {"train": "data_mouse_train.txt", "val": "data_mouse_val.txt"}


@dataclass(frozen=True)
class Request:
    """One sample to make; its pictures depend on nothing else."""

    directory: Path
    index: int
    seed: int
    size: int
    extra_views: int
    held_out: bool


def main() -> None:
    """Parse, make all samples, then list them."""
    arguments = _parse()
    _validate(arguments)
    requests = _requests(arguments)
    _clear(arguments.output, overwrite=arguments.overwrite)
    workers = min(arguments.workers or _available_cores(), len(requests))
    with _mapped(requests, workers) as finished:
        for _ in track(finished, "synthetic mice", len(requests)):
            pass
    for split, name in LISTS.items():
        lines = [request.directory.name for request in requests if request.held_out == (split == "val")]
        if lines:
            (arguments.output / name).write_text("\n".join(lines) + "\n")
            report(f"{arguments.output / name}: {len(lines)} samples")


def make_sample(request: Request) -> None:
    """Draw, photograph and write one sample."""
    import numpy as np

    from gslrm.data.sample import write_sample
    from gslrm.data.synthetic_scene import sample_scene

    rng = np.random.default_rng([request.seed, request.index])
    mouse, cameras, names = sample_scene(
        rng, size=request.size, extra_views=request.extra_views, held_out=request.held_out
    )
    images, masks, depths = photograph(mouse, cameras)
    write_sample(request.directory, images=images, masks=masks, depths=depths, cameras=cameras, camera_names=names)


def photograph(mouse: "Gaussians", cameras: "Cameras") -> tuple["np.ndarray", "np.ndarray", "np.ndarray"]:
    """8-bit pictures on white, 8-bit coverage and 16-bit depth where more than half of a pixel is covered."""
    import torch
    from torch.nn.functional import avg_pool2d

    fine = replace(
        cameras,
        focal=cameras.focal * SUPERSAMPLING,
        center=cameras.center * SUPERSAMPLING,
        height=cameras.height * SUPERSAMPLING,
        width=cameras.width * SUPERSAMPLING,
    )
    with torch.no_grad():
        rendering = _rasterizer()(mouse[None], fine[None], torch.zeros(1, 3))[0]
        colour = avg_pool2d(rendering.rgb, SUPERSAMPLING)  # on black, so already weighted by coverage
        coverage = avg_pool2d(rendering.alpha, SUPERSAMPLING)
        depth = avg_pool2d(rendering.depth * rendering.alpha, SUPERSAMPLING) / coverage.clamp_min(0.5)
    images = (255 * (colour + 1 - coverage)).round().clamp(0, 255).byte()
    masks = (255 * coverage).round().clamp(0, 255).byte()
    depths = (DEPTH_PER_MM * depth * (coverage > 0.5)).round().clamp(0, 65535).int()
    return images.permute(0, 2, 3, 1).numpy(), masks[:, 0].numpy(), depths[:, 0].numpy().astype("uint16")


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, required=True, help="directory of the data set; made if missing")
    parser.add_argument("--num-samples", type=int, required=True, help="samples, training and validation together")
    parser.add_argument("--seed", type=int, default=0, help="same seed, same bytes, whatever the number of workers")
    parser.add_argument("--size", type=int, default=256, help="width and height of the images in pixels (default 256)")
    parser.add_argument("--extra-views", type=int, default=6, help="views beside the rig's six (default 6)")
    parser.add_argument("--val-fraction", type=float, default=0.1, help="share of validation samples (default 0.1)")
    parser.add_argument("--workers", type=int, default=0, help="processes (default: one per core)")
    parser.add_argument("--overwrite", action="store_true", help="replace the samples that --output already holds")
    return parser.parse_args()


def _validate(arguments: argparse.Namespace) -> None:
    limits = {"num_samples": (1, 999_999), "seed": (0, 2**63), "size": (16, MAX_SIZE), "extra_views": (0, 64)}
    for name, (low, high) in (limits | {"workers": (0, 256)}).items():
        if not low <= getattr(arguments, name) <= high:
            option = "--" + name.replace("_", "-")
            raise UserError(f"{option} {getattr(arguments, name)}: must be from {low} to {high}")
    if not 0 <= arguments.val_fraction < 1:
        raise UserError(f"--val-fraction {arguments.val_fraction}: must be at least 0 and less than 1")
    if arguments.output.exists() and not arguments.output.is_dir():
        raise UserError(f"--output {arguments.output}: is a file; name a directory")


def _requests(arguments: argparse.Namespace) -> list[Request]:
    """The samples to make; validation comes last and takes at least one of two or more."""
    count = arguments.num_samples
    held_out = 0
    if arguments.val_fraction > 0 and count > 1:
        held_out = min(max(1, round(arguments.val_fraction * count)), count - 1)
    return [
        Request(
            directory=arguments.output / f"sample_{index:06d}",
            index=index,
            seed=arguments.seed,
            size=arguments.size,
            extra_views=arguments.extra_views,
            held_out=index >= count - held_out,
        )
        for index in range(count)
    ]


def _clear(output: Path, *, overwrite: bool) -> None:
    """Make the directory; what an earlier run left in it goes only if asked, for it might be someone's data."""
    try:
        output.mkdir(parents=True, exist_ok=True)
        lists = [output / name for name in LISTS.values() if (output / name).exists()]
        samples = sorted(output.glob("sample_*"))
        for found in (lists + samples)[:1]:
            if not overwrite:
                raise UserError(f"--output {output}: already holds {found.name}; name another or add --overwrite")
        for path in lists:  # first, so that no half-removed sample is listed
            path.unlink()
        for path in samples:
            shutil.rmtree(path)
    except OSError as error:
        raise UserError(f"--output {output}: cannot be written ({error.strerror})") from error


@contextmanager
def _mapped(requests: list[Request], workers: int) -> Iterator[Iterator[None]]:
    """Samples being made, here or in `workers` processes; a failure in any of them ends the run."""
    if workers == 1:
        yield (make_sample(request) for request in requests)
        return
    context = multiprocessing.get_context("spawn")  # a forked copy of numba's or torch's threads does not survive
    with ProcessPoolExecutor(workers, mp_context=context, initializer=_use_one_thread) as pool:
        futures = [pool.submit(make_sample, request) for request in requests]
        try:
            yield (future.result() for future in as_completed(futures))
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def _use_one_thread() -> None:
    import cv2
    import numba
    import torch

    torch.set_num_threads(1)
    numba.set_num_threads(1)
    cv2.setNumThreads(1)


@cache
def _rasterizer() -> "Rasterizer":
    from gslrm.render import build_rasterizer

    return build_rasterizer("cpu", device="cpu")  # bit for bit the same on every machine with the same libraries


def _available_cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


if __name__ == "__main__":
    run(main)
