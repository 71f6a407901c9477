"""Inference's output folder to a sequence with its figures and its video."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch

from gslrm import cli
from gslrm.cameras import Cameras
from gslrm.data.masks import MaskPolicy
from gslrm.export import replacing, write_json, write_video
from gslrm.motion.figures import motion_figures
from gslrm.motion.recording import Reconstructed, find_reconstructions, frames_of, up_of
from gslrm.motion.report import motion_page
from gslrm.motion.sequence import GaussianSequence, write_sequence
from gslrm.motion.steady import Correction, corrections, summarise
from gslrm.motion.video import side_by_side
from gslrm.render import build_rasterizer
from gslrm.types import Gaussians, Rendering

WHITE = torch.ones(1, 3)


@dataclass(frozen=True)
class Film:
    """The side-by-side video: index of the input camera, pixels across a panel, frames per second, orbits in all."""

    view: int = 0
    size: int = 384
    fps: int = 25
    turns: float = 1.0


@dataclass(frozen=True)
class Request:
    """What is made of a recording's output; `fps` is what its frame numbers count, `unit` the name of its lengths."""

    fps: float
    unit: str = ""
    reach: int = 0
    """Frames on either side over which frames are steadied; 0 leaves them as they are."""
    steadied: tuple[Literal["place", "brightness"], ...] = ("place", "brightness")
    film: Film | None = Film()  # noqa: RUF009 - frozen


def make_sequence(
    output: Path, request: Request, *, folder: Path | None = None, samples: Path | None = None
) -> tuple[GaussianSequence, dict[str, Any]]:
    """Write a sequence with `motion.json`, `motion.html`, a video into `folder`, or `sequence` in the output folder.

    Returns:
        The sequence, and the figures of `motion_figures`.

    Raises:
        UserError: there is nothing, something is damaged, or files cannot be written.
    """
    found = find_reconstructions(output, samples)
    steadying = _corrections(found, request) if request.reach else None
    folder = folder or output / "sequence"
    x, y, z = up_of(found).tolist()
    frames = cli.track(frames_of(found, request.fps, steadying), "writing frames", total=len(found))
    sequence = write_sequence(folder, frames, fps=request.fps, unit=request.unit, up=(x, y, z))
    rasterizer = build_rasterizer("auto")

    def paint(gaussians: Gaussians, camera: Cameras, ratio: float) -> Rendering:
        with torch.inference_mode():
            return rasterizer(gaussians[None], camera[None, None].float(), WHITE, resolution_ratio=ratio)[0]

    figures = motion_figures(sequence, paint)
    write_json(folder / "motion.json", figures)
    with replacing(folder / "motion.html") as temporary:
        temporary.write_text(motion_page(sequence, figures), encoding="utf-8")
    if request.film is not None:
        film, policy = request.film, MaskPolicy(auto_generate=True)
        pictures = side_by_side(sequence, paint, view=film.view, size=film.size, turns=film.turns, policy=policy)
        write_video(folder / "side_by_side.mp4", cli.track(pictures, "filming", total=len(sequence)), fps=film.fps)
    return sequence, figures


def _corrections(found: Sequence[Reconstructed], request: Request) -> list[Correction]:
    """What steadies every frame."""
    frames = cli.track(frames_of(found, request.fps), "looking at frames", total=len(found))
    known = [(frame.time, summarise(frame.gaussians)) for frame in frames]
    return corrections(
        [time for time, _ in known],
        [summary for _, summary in known],
        reach=request.reach,
        place="place" in request.steadied,
        brightness="brightness" in request.steadied,
    )
