"""Speed, jitter, flicker: right for what moves in a known way; steadying takes jitter away and leaves motion."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from motion_helpers import render, synthetic_mouse

from gslrm import harmonics as sh
from gslrm.motion import Frame, GaussianSequence, write_sequence
from gslrm.motion.figures import motion_figures
from gslrm.motion.steady import Correction, corrections, summarise
from gslrm.types import Gaussians

FPS = 100.0
VELOCITY = torch.tensor([150.0, 80.0, 0.0])  # mm/s


def moving(count: int, shifts: torch.Tensor | None = None, gains: list[float] | None = None) -> list[Frame]:
    """A synthetic mouse at constant velocity, shifted and brightened frame by frame."""
    mouse = synthetic_mouse().gaussians
    frames = []
    for index in range(count):
        shift = VELOCITY * index / FPS + (0 if shifts is None else shifts[index])
        gain = 1.0 if gains is None else gains[index]
        scene = Correction(shift.double(), gain).apply(mouse)
        frames.append(Frame(f"frame_{index:03d}", index / FPS, scene))
    return frames


def write(folder: Path, frames: list[Frame]) -> GaussianSequence:
    return write_sequence(folder / "sequence", frames, fps=FPS, unit="mm", up=(0.0, 0.0, 1.0))


def measured(folder: Path, frames: list[Frame]) -> dict:
    return motion_figures(write(folder, frames), render, size=32)


def jitter(count: int, size: float) -> torch.Tensor:
    return size * torch.randn(count, 3, generator=torch.Generator().manual_seed(1))


def steadied(frames: list[Frame], **options) -> list[Frame]:
    times = [frame.time for frame in frames]
    summaries = [summarise(frame.gaussians) for frame in frames]
    found = corrections(times, summaries, **({"reach": 4, "place": True, "brightness": True} | options))
    return [replace(frame, gaussians=item.apply(frame.gaussians)) for frame, item in zip(frames, found, strict=True)]


def test_an_object_at_constant_velocity_has_its_speed_and_no_flicker(tmp_path):
    found = measured(tmp_path, moving(6))
    assert found["speed"] == pytest.approx([float(VELOCITY.norm())] * 6, rel=1e-4)
    assert found["jitter"][0] is None and max(found["jitter"][1:-1]) < 1e-4
    assert found["means"]["flicker"] < 1.0  # positions are rounded in the file
    assert found["means"]["flicker_fixed"] > 4 * found["means"]["flicker"]
    assert found["unit"] == "mm" and found["fps"] == FPS


@pytest.mark.parametrize(
    "spoiled", [{"shifts": jitter(6, 1.0)}, {"gains": [1.0, 1.1, 0.9, 1.05, 0.95, 1.0]}], ids=["place", "brightness"]
)
def test_what_jumps_from_frame_to_frame_flickers(tmp_path, spoiled):
    assert (
        measured(tmp_path / "a", moving(6, **spoiled))["means"]["flicker"]
        > 3 * measured(tmp_path / "b", moving(6))["means"]["flicker"]
    )


def test_frames_that_are_missing_or_empty_are_not_compared_across(tmp_path):
    frames = [frame for index, frame in enumerate(moving(9)) if index != 4]
    clear = frames[7].gaussians
    frames[7] = replace(frames[7], gaussians=replace(clear, opacities=torch.zeros_like(clear.opacities)))
    found = measured(tmp_path, frames)
    assert [value is None for value in found["flicker"]] == [True, False, False, True, True, False, True, True]
    assert found["speed"][7] is None
    assert found["speed"][:7] == pytest.approx([float(VELOCITY.norm())] * 7, rel=1e-4)


@pytest.mark.parametrize("count", [1, 2])
def test_short_sequences_have_what_can_be_known(tmp_path, count):
    found = measured(tmp_path, moving(count))
    assert found["flicker"] == [None] * count and found["means"]["flicker"] is None
    assert [value is None for value in found["speed"]] == [count == 1] * count


def test_steadying_leaves_constant_velocity_alone():
    frames = moving(8)
    for before, after in zip(frames, steadied(frames), strict=True):
        torch.testing.assert_close(after.gaussians.means, before.gaussians.means, atol=1e-4, rtol=0)
        torch.testing.assert_close(after.gaussians.harmonics, before.gaussians.harmonics, atol=1e-5, rtol=0)


def test_steadying_takes_jitter_and_flicker_away_and_keeps_the_way(tmp_path):
    rough = moving(16, jitter(16, 1.0), [1 + 0.08 * (-1) ** index for index in range(16)])
    before, after = measured(tmp_path / "a", rough), measured(tmp_path / "b", steadied(rough))
    assert after["means"]["jitter"] < 0.5 * before["means"]["jitter"]
    assert after["means"]["flicker"] < 0.6 * before["means"]["flicker"]
    way = [summarise(frame.gaussians).center for frame in steadied(rough)]
    assert float((way[-1] - way[0]).norm()) == pytest.approx(float(VELOCITY.norm()) * 15 / FPS, rel=0.08)


@pytest.mark.parametrize(("place", "brightness"), [(True, False), (False, True), (False, False)])
def test_only_what_is_asked_for_is_steadied(place, brightness):
    rough = moving(8, jitter(8, 1.0), [1 + 0.08 * (-1) ** index for index in range(8)])
    smooth = steadied(rough, place=place, brightness=brightness)
    is_moved = any(not torch.equal(a.gaussians.means, b.gaussians.means) for a, b in zip(rough, smooth, strict=True))
    is_brightened = any(
        not torch.equal(a.gaussians.harmonics, b.gaussians.harmonics) for a, b in zip(rough, smooth, strict=True)
    )
    assert (is_moved, is_brightened) == (place, brightness)


def test_a_correction_multiplies_the_colours_seen_from_anywhere():
    generator = torch.Generator().manual_seed(0)
    gaussians = replace(synthetic_mouse().gaussians[:5], harmonics=0.1 * torch.randn(5, 16, 3, generator=generator))
    direction = torch.nn.functional.normalize(torch.randn(5, 3, generator=generator), dim=-1)
    corrected = Correction(torch.zeros(3, dtype=torch.float64), 1.25).apply(gaussians)
    torch.testing.assert_close(
        sh.evaluate(corrected.harmonics, direction), 1.25 * sh.evaluate(gaussians.harmonics, direction)
    )


def test_frames_without_anything_solid_stay_as_they_are():
    frames = moving(6, jitter(6, 1.0))
    clear = frames[2].gaussians
    frames[2] = replace(frames[2], gaussians=replace(clear, opacities=torch.zeros_like(clear.opacities)))
    smooth = steadied(frames)
    assert torch.equal(smooth[2].gaussians.means, clear.means)
    assert not torch.equal(smooth[3].gaussians.means, frames[3].gaussians.means)
    nothing: list[Gaussians] = [frames[2].gaussians] * 2
    still = corrections([0.0, 1.0], [summarise(scene) for scene in nothing], reach=2, place=True, brightness=True)
    assert all(item.gain == 1 and not np.any(item.shift.numpy()) for item in still)
