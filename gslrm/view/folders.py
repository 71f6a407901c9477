"""Folders and files of Gaussians to a scene: outputs of inference, sequences, single files of any format."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import torch

from gslrm.cameras import nearest_to_lines
from gslrm.data.lists import find_samples
from gslrm.data.sample import CAMERA_FILE, Sample, read_sample
from gslrm.errors import UserError
from gslrm.export import read_gaussians
from gslrm.motion.manifest import MANIFEST
from gslrm.motion.sequence import FrameCamera, GaussianSequence, read_sequence
from gslrm.types import Gaussians
from gslrm.view.scene import Grain, Moment, Scene, ViewCamera

GAUSSIANS = "gaussians.ply"
RECORD = "done.json"  # in a sample's folder, by inference.py: which sample, which of its views were given
DEFAULT_INPUTS = tuple(range(6))
DEFAULT_FPS = 10.0  # of samples that are not a sequence
KEPT = 8  # sets of Gaussians held in memory, so that going back and forth does not read again
Load = Callable[[], Gaussians]


def read_scene(
    path: Path, *, data: Path | None = None, inputs: tuple[int, ...] | None = None, ratio: float | None = None
) -> Scene:
    """What a folder holds.

    Args:
        path: a sequence, an output folder of inference (of one sample, or with several, which become moments in the
            order of their names), or one file of Gaussians.
        data: the samples from which the Gaussians were made, where the folder does not say.
        inputs: which of their views were given to the model, where the folder does not say; the first six if none.
        ratio: pixels of the samples' pictures per pixel of the model's, where the folder does not say.

    Raises:
        UserError: nothing of the kind is there, or it is damaged.
    """
    if (path / MANIFEST).is_file() or path.name == MANIFEST:
        return _of_sequence(read_sequence(path), ratio)
    files = _files(path)
    samples = {directory.name: directory for directory in find_samples(data)} if data is not None else {}
    if len(files) == len(samples) == 1:  # a single file need not have the sample's name
        samples = dict(zip(files, samples.values(), strict=True))
    moments = []
    for index, (name, file) in enumerate(files.items()):
        record = _read_record(file.parent / RECORD)
        directory = samples.get(name) or _source(record)
        cameras = () if directory is None else _of_sample(read_sample(directory), inputs or _inputs(record))
        grain = _grain(record, file.parent / RECORD) if ratio is None else grain_of(cameras, ratio)
        moments.append(Moment(name, index / DEFAULT_FPS, partial(_read, file), cameras, grain))
    return Scene(path.resolve().name, tuple(moments), DEFAULT_FPS)


def grain_of(cameras: Sequence[ViewCamera], ratio: float) -> Grain | None:
    """The grain at which the pictures of `cameras` have `ratio` pixels per pixel of the model's; none without any."""
    if not cameras:
        return None
    poses = [camera.camera.to(torch.float64) for camera in cameras]
    origins = torch.stack([pose.position for pose in poses])
    center = nearest_to_lines(origins, torch.stack([pose.world_from_camera[:3, 2] for pose in poses]))
    densities = [float(pose.focal.mean() / (pose.position - center).norm()) for pose in poses]
    x, y, z = center.tolist()
    return Grain(sum(densities) / len(densities) / ratio, (x, y, z))


def _files(path: Path) -> dict[str, Path]:
    """Files of all moments by name."""
    if path.is_file():
        return {path.stem: path}
    if (path / GAUSSIANS).is_file():
        return {path.resolve().name: path / GAUSSIANS}
    found = {file.parent.name: file for file in sorted(path.glob(f"*/{GAUSSIANS}"))}
    if not found:
        raise UserError(
            f"{path} holds no Gaussians: neither {GAUSSIANS}, nor sub-folders with one, nor a sequence's {MANIFEST}; "
            "give the --output folder of inference.py, a sequence, or a file of Gaussians"
        )
    return found


@lru_cache(maxsize=KEPT)
def _read(file: Path) -> Gaussians:
    return read_gaussians(file)


def _read_record(file: Path) -> Mapping[str, Any]:
    """What inference noted of a sample; empty where it noted nothing."""
    if not file.is_file():
        return {}
    try:
        record = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"{file} cannot be read ({error}); run inference.py again") from error
    if not isinstance(record, dict):
        raise UserError(f"{file} holds no record of a sample; run inference.py again")
    return record


def _source(record: Mapping[str, Any]) -> Path | None:
    """The sample that a record names, if it is still there."""
    source = record.get("source")
    return Path(source) if isinstance(source, str) and (Path(source) / CAMERA_FILE).is_file() else None


def _inputs(record: Mapping[str, Any]) -> tuple[int, ...]:
    return tuple(record.get("input_views", DEFAULT_INPUTS))


def _grain(record: Mapping[str, Any], file: Path) -> Grain | None:
    if "grain" not in record:
        return None
    try:
        density, eps2d = float(record["grain"]["density"]), float(record["grain"]["eps2d"])
        x, y, z = (float(value) for value in record["grain"]["center"])
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(f"{file}: grain needs density, center, eps2d ({error}); run inference.py again") from error
    return Grain(density, (x, y, z), eps2d)


def _of_sample(sample: Sample, inputs: tuple[int, ...]) -> tuple[ViewCamera, ...]:
    return tuple(ViewCamera(view.name, view.camera, view.index in inputs, view) for view in sample.views)


def _of_sequence(sequence: GaussianSequence, ratio: float | None) -> Scene:
    manifest, load = sequence.manifest, lru_cache(maxsize=KEPT)(sequence.gaussians)
    moments = []
    for index, entry in enumerate(manifest.frames):
        cameras = _with_pictures(sequence.cameras(index), sequence.sample(index))
        known = None if entry.density is None or entry.center is None else Grain(entry.density, entry.center)
        grain = known if ratio is None else grain_of(cameras, ratio)
        moments.append(Moment(entry.name, entry.time, partial(load, index), cameras, grain))
    return Scene(sequence.folder.resolve().name, tuple(moments), manifest.fps, manifest.unit, manifest.up)


def _with_pictures(cameras: Sequence[FrameCamera], sample: Path | None) -> tuple[ViewCamera, ...]:
    """Cameras of a sequence's world; pictures are those of the sample's cameras of the same names, if it is there."""
    is_there = sample is not None and (sample / CAMERA_FILE).is_file()
    views = {view.name: view for view in read_sample(sample).views} if sample is not None and is_there else {}
    return tuple(
        ViewCamera(
            camera.name,
            camera.camera,
            camera.is_input,
            replace(views[camera.name], camera=camera.camera) if camera.name in views else None,
        )
        for camera in cameras
    )
