"""Make a data set of synthetic mice: calibrated views, masks and depth in FaceLift's layout.

A few samples in a few seconds, on any machine:

    python scripts/make_synthetic_mice.py --output /tmp/mice --num-samples 4 --seed 0 --size 128

Object-centred pictures, all pixels for the animal, for training at 128 px:

    python scripts/make_synthetic_mice.py --output /tmp/mice --num-samples 2000 --size 160 --crop 1.25

Every sample has the six cameras of a random rig (cam_000..005). Samples for training add cameras from anywhere;
samples for validation add the cameras half-way between the rig's, which no sample for training has. Lengths are
millimetres, depth is 16-bit with value / 100 mm, masks are coverage, images lie on white. See docs/synthetic_mice.md.
"""

import argparse
import multiprocessing
import os
import shutil
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from gslrm.cli import report, run, track
from gslrm.errors import UserError

MAX_SIZE = 1024
LISTS = {"train": "data_mouse_train.txt", "val": "data_mouse_val.txt"}
COATS = ("black", "grey", "agouti", "brown", "cream", "silver", "spotted", "albino")
MESH_HELP = "meshes to photograph instead of mice: frames as OBJ, glTF, GLB, PLY, STL or OFF, or folders of them"
EFFECTS = {
    "exposure": "every camera of the rig has brightness, contrast and tint of its own",
    "noise": "sensor noise in the rig's pictures",
    "blur": "the rig's pictures are a little out of focus",
    "compression": "the rig's pictures went through JPEG",
    "cut": "parts of the animal, mostly tails, are missing in some of the rig's pictures as beyond their border",
}


@dataclass(frozen=True)
class Request:
    """One sample to make; its pictures depend on nothing else."""

    directory: Path
    index: int
    seed: int
    size: int
    extra_views: int
    held_out: bool
    crop: float = 0.0
    rearing: float | None = None
    coats: tuple[str, ...] = COATS
    whiskers: bool = False
    effects: tuple[str, ...] = ()
    masks: str = "exact"
    meshes: tuple[Path, ...] = ()
    mesh_scale: float = 1.0
    mesh_up: str = "z"


def main() -> None:
    """Parse, make all samples, then list them."""
    arguments = _parse()
    _validate(arguments)
    requests = _requests(arguments)
    if arguments.mesh:
        _try_meshes(requests[0])
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
    from gslrm.data.synthetic_mesh_source import animal_of
    from gslrm.data.synthetic_raster import photograph
    from gslrm.data.synthetic_scene import RIG_VIEWS, Views, mouse_options, scene_of
    from gslrm.data.synthetic_sensor import Sensor, record

    rng = np.random.default_rng([request.seed, request.index])
    views = Views(request.size, request.extra_views, request.held_out, request.crop)
    options = mouse_options(views, rearing=request.rearing, coats=request.coats, whiskers=request.whiskers)
    animal = animal_of(request.meshes, scale=request.mesh_scale, up=request.mesh_up) if request.meshes else None
    mesh, cameras, names = scene_of(rng, views, options, animal)
    sensor = Sensor(masks=request.masks, **dict.fromkeys(request.effects, True))  # type: ignore[arg-type]
    stored = record(
        photograph(mesh, cameras, grain_seed=request.index),
        sensor,
        seed=(request.seed, request.index),
        views=RIG_VIEWS,
    )
    write_sample(
        request.directory,
        images=stored.images,
        masks=stored.masks,
        depths=stored.depths,
        cameras=cameras,
        camera_names=names,
    )


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, required=True, help="directory of the data set; made if missing")
    parser.add_argument("--num-samples", type=int, required=True, help="samples, training and validation together")
    parser.add_argument("--seed", type=int, default=0, help="same seed, same bytes, whatever the number of workers")
    parser.add_argument("--size", type=int, default=256, help="width and height of the images in pixels (default 256)")
    parser.add_argument("--extra-views", type=int, default=6, help="views beside the rig's six (default 6)")
    parser.add_argument("--val-fraction", type=float, default=0.1, help="share of validation samples (default 0.1)")
    parser.add_argument("--workers", type=int, default=0, help="processes (default: one per core)")
    parser.add_argument(
        "--crop", type=float, default=0.0, metavar="TIMES",
        help="turn cameras to the animal and show this many times its diameter, rays exact (default: whole frames)",
    )  # fmt: skip
    parser.add_argument("--rearing", type=float, help="share of rearing mice (default 0.15; real recordings: 0.07)")
    parser.add_argument("--coats", nargs="+", choices=COATS, default=COATS, help="coats to draw from (default all)")
    parser.add_argument("--whiskers", action="store_true", help="draw whiskers")
    for name, words in EFFECTS.items():
        parser.add_argument(f"--{name}", action="store_true", help=words)
    parser.add_argument("--masks", choices=("exact", "soft", "ragged"), default="exact", help="the rig's masks")
    parser.add_argument("--mesh", type=Path, nargs="+", default=[], metavar="PATH", help=MESH_HELP)
    parser.add_argument("--mesh-scale", type=float, default=1.0, help="mm per unit of the meshes (default 1)")
    parser.add_argument("--mesh-up", choices=("y", "z"), default="z", help="the meshes' upward axis (default z)")
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
    if arguments.crop and not 1.0 <= arguments.crop <= 4:
        raise UserError(f"--crop {arguments.crop}: must be from 1 to 4 times the animal's diameter")
    if arguments.rearing is not None and not 0 <= arguments.rearing <= 1:
        raise UserError(f"--rearing {arguments.rearing}: must be from 0 to 1")
    if not 0 < arguments.mesh_scale < 1e6:
        raise UserError(f"--mesh-scale {arguments.mesh_scale}: must be positive, in mm per unit of the meshes")
    if arguments.output.exists() and not arguments.output.is_dir():
        raise UserError(f"--output {arguments.output}: is a file; name a directory")


def _requests(arguments: argparse.Namespace) -> list[Request]:
    """The samples to make; validation comes last and takes at least one of two or more."""
    count = arguments.num_samples
    held_out = 0
    meshes = ()
    if arguments.mesh:
        from gslrm.data.synthetic_mesh_source import mesh_files

        meshes = tuple(mesh_files(arguments.mesh))
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
            crop=arguments.crop,
            rearing=arguments.rearing,
            coats=tuple(arguments.coats),
            whiskers=arguments.whiskers,
            effects=tuple(name for name in EFFECTS if getattr(arguments, name)),
            masks=arguments.masks,
            meshes=meshes,
            mesh_scale=arguments.mesh_scale,
            mesh_up=arguments.mesh_up,
        )
        for index in range(count)
    ]


def _try_meshes(request: Request) -> None:
    """Read every mesh once, before hours are spent on the first ones."""
    from gslrm.data.synthetic_mesh_source import require_size

    for path in request.meshes:
        require_size(path, scale=request.mesh_scale, up=request.mesh_up)


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


def _available_cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


if __name__ == "__main__":
    run(main)
