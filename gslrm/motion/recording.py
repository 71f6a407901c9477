"""The output of inference over a recording as the frames of one sequence."""

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from gslrm.data.normalize import rig_up
from gslrm.data.sample import Sample, read_sample
from gslrm.errors import UserError
from gslrm.export import read_gaussians
from gslrm.motion.sequence import Frame, FrameCamera
from gslrm.motion.steady import Correction
from gslrm.similarity import Similarity

GAUSSIANS = "gaussians.ply"
DONE = "done.json"  # what inference says about a sample
NUMBER = re.compile(r"(\d+)$")
SAME_WORLD = 1e-6  # of the entries of two similarities, relative to their scale


@dataclass(frozen=True)
class Noted:
    """What inference noted: where a sample was read from, its input views, the pixels per unit that it was made for."""

    source: Path | None = None
    input_views: tuple[int, ...] | None = None
    density: float | None = None


@dataclass(frozen=True)
class Reconstructed:
    """One sample's Gaussians on the disk; `sample` is what they were made of, none where that is not known."""

    name: str
    file: Path
    number: int
    sample: Sample | None
    noted: Noted
    to_shared: Similarity | None = None
    """From the sample's world to that of all frames; none where they are one."""


def find_reconstructions(output: Path, samples: Path | None = None) -> list[Reconstructed]:
    """The samples in an output folder of inference, in the order of their numbers, with the way to one world.

    The number at the end of a sample's name counts frames; where one has none, or two have the same, they count in the
    order of their names. Samples that were prepared each in a world of their own go back to that of the recording.

    Args:
        output: holds `*/gaussians.ply`.
        samples: folder of the samples that they were made of; none takes what inference noted, where it is still there.

    Raises:
        UserError: there is nothing, a sample is damaged or missing in `samples`, or some know the recording's world
            and others do not.
    """
    files = sorted(output.glob(f"*/{GAUSSIANS}"))
    if not files:
        raise UserError(f"{output} holds no */{GAUSSIANS}; give the --output of inference.py")
    numbers = frame_numbers([file.parent.name for file in files])
    found = [_reconstructed(file, number, samples) for file, number in zip(files, numbers, strict=True)]
    return _in_one_world(sorted(found, key=lambda frame: frame.number))


def frame_numbers(names: Sequence[str]) -> list[int]:
    """What frames of different names count: the number at the end of each, or else their place in the names' order."""
    digits = [NUMBER.search(name) for name in names]
    numbers = [int(found[1]) for found in digits if found]
    if len(set(numbers)) == len(names):
        return numbers
    place = {name: number for number, name in enumerate(sorted(names))}
    return [place[name] for name in names]


def ways_to_one_world(names: Sequence[str], worlds: Sequence[Similarity | None]) -> list[Similarity | None]:
    """From each sample's world to that of all; none where they are in one already.

    Args:
        names: of the samples.
        worlds: how each sample's world follows from that of the recording, none where nobody knows.

    Raises:
        UserError: some know the recording's world and others do not.
    """
    known = [world for world in worlds if world is not None]
    if not known or (len(known) == len(worlds) and all(_is_same(world, known[0]) for world in known)):
        return [None] * len(worlds)
    if len(known) < len(worlds):
        raise UserError(
            f"the samples are in worlds of their own and {names[worlds.index(None)]} does not say how it lies in that "
            "of the recording; prepare all of them with --world rig or --world recording, and name them with --samples"
        )
    return [world.inverse() for world in known]


def frames_of(
    found: Sequence[Reconstructed], fps: float, corrections: Sequence[Correction] | None = None
) -> Iterator[Frame]:
    """Read them one by one; the first is at time 0, others at their number's distance from it.

    Raises:
        UserError: a file is damaged.
    """
    for index, frame in enumerate(found):
        gaussians = read_gaussians(frame.file)
        if frame.to_shared is not None:
            gaussians = gaussians.transform(frame.to_shared)
        if corrections is not None:
            gaussians = corrections[index].apply(gaussians)
        time = (frame.number - found[0].number) / fps
        sample = None if frame.sample is None else frame.sample.directory
        yield Frame(frame.name, time, gaussians, cameras_of(frame), sample, _density(frame))


def cameras_of(frame: Reconstructed) -> tuple[FrameCamera, ...]:
    """The cameras of a frame's sample in the shared world; none where the sample is not known."""
    if frame.sample is None:
        return ()
    return tuple(
        FrameCamera(
            view.name,
            view.camera if frame.to_shared is None else view.camera.transform(frame.to_shared),
            frame.noted.input_views is None or view.index in frame.noted.input_views,
        )
        for view in frame.sample.views
    )


def up_of(found: Sequence[Reconstructed]) -> Float[Tensor, "3"]:
    """Upwards as the input cameras of the first known sample stand, in the shared world; z where none is known."""
    cameras = next((cameras for cameras in map(cameras_of, found) if cameras), ())
    rotations = [item.camera.world_from_camera[:3, :3] for item in cameras if item.is_input]
    if len(rotations) < 2:
        return torch.tensor([0.0, 0.0, 1.0], dtype=torch.float64)
    return rig_up(torch.stack(rotations))


def _density(frame: Reconstructed) -> float | None:
    """Pixels per unit of the shared world."""
    density = frame.noted.density
    return density if density is None or frame.to_shared is None else density / float(frame.to_shared.scale)


def _reconstructed(file: Path, number: int, samples: Path | None) -> Reconstructed:
    name = file.parent.name
    noted = _noted(file.with_name(DONE))
    folder = noted.source if samples is None else samples / name
    if samples is None and folder is not None and not folder.is_dir():  # the samples have moved since
        folder = None
    sample = None if folder is None else read_sample(folder)
    return Reconstructed(name, file, number, sample, noted)


def _noted(path: Path) -> Noted:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        source, views, grain = (content.get(key) for key in ("source", "input_views", "grain"))
        return Noted(
            source and Path(source),
            views and tuple(int(view) for view in views),
            grain and float(grain["density"]),
        )
    except FileNotFoundError:
        return Noted()
    except (OSError, ValueError, TypeError, AttributeError, KeyError) as error:
        raise UserError(f"{path} cannot be used ({error}); let inference.py --redo make the sample again") from error


def _in_one_world(found: list[Reconstructed]) -> list[Reconstructed]:
    worlds = [None if frame.sample is None else frame.sample.world_from_source for frame in found]
    ways = ways_to_one_world([frame.name for frame in found], worlds)
    return [replace(frame, to_shared=way) for frame, way in zip(found, ways, strict=True)]


def _is_same(left: Similarity, right: Similarity) -> bool:
    scale = float(right.scale.abs()) + float(right.translation.abs().max())
    return bool((left.matrix() - right.matrix()).abs().max() <= SAME_WORLD * scale)
