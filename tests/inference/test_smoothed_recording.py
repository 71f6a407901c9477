"""Samples placed as frames of one recording: steadier, still in register with their own cameras, and resumable."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from evaluation_helpers import reconstructor
from helpers import ball_coverage, ring, write_ball_sample
from inference_helpers import contents, hull_reconstructor, reconstruct_all

from gslrm.data.sample import CAMERA_FILE, camera_frames, read_sample
from gslrm.errors import UserError
from gslrm.export import read_ply
from gslrm.inference import Pace, Task, describe_settings, reconstruct_samples, share_placements
from gslrm.inference.folder import OutputFolder
from gslrm.motion.smoothing import departures
from gslrm.reconstruct import Reconstructor
from gslrm.similarity import Similarity

GAUSSIANS_ONLY = Task(render_views=(), video=False)
START = torch.tensor([45.0, 52.0, 40.0], dtype=torch.float64)
PIXEL = 4.5  # mm, at the ball
TREMOR = (0.0, 3.0, -3.0, 3.0, -2.0, 0.0)  # mm, on top of an even motion


def place(number: int) -> torch.Tensor:
    return START + torch.tensor([2.0 * number + TREMOR[number], -TREMOR[number], 0.0], dtype=torch.float64)


@pytest.fixture(scope="module")
def frames(tmp_path_factory) -> list[Path]:
    """A ball that travels, trembles, and seems to breathe."""
    folder = tmp_path_factory.mktemp("recording")
    return [
        write_ball_sample(
            folder / f"frame_{number:03d}",
            ring(6, size=48),
            center=tuple(place(number).tolist()),
            radius=28.0 + 2 * (number % 2),
        )
        for number in range(len(TREMOR))
    ]


def together(worker: Reconstructor, samples: list[Path], reach: int = 5) -> Task:
    shared = share_placements(worker, samples, input_views=None, reach=reach, workers=0)
    return replace(GAUSSIANS_ONLY, shared=shared)


def centers(root: Path, samples: list[Path]) -> torch.Tensor:
    """The mean of the Gaussians of each sample, in the recording's world."""
    return torch.stack(
        [read_ply(root / sample.name / "gaussians.ply").means.double().mean(dim=0) for sample in samples]
    )


def jitter(at: torch.Tensor) -> float:
    return float(departures([float(number) for number in range(len(at))], at).mean())


def test_without_it_no_sample_knows_of_the_others(frames, tmp_path):
    worker = reconstructor()
    assert "smooth_placement" not in describe_settings(worker, GAUSSIANS_ONLY)
    reconstruct_all(worker, frames[:3], tmp_path / "together", task=GAUSSIANS_ONLY)
    reconstruct_all(worker, frames[1:2], tmp_path / "alone", task=GAUSSIANS_ONLY)
    alone = contents(tmp_path / "alone")
    assert len(alone) > 2 and alone.items() <= contents(tmp_path / "together").items()


def test_an_object_at_rest_is_not_changed(frames, tmp_path):
    copies = [shutil.copytree(frames[0], tmp_path / "data" / f"frame_{number:03d}") for number in range(4)]
    for worker in (reconstructor(), hull_reconstructor()):
        task = together(worker, copies)
        sample = read_sample(copies[2])
        alone = worker.place(sample, (0, 1, 2, 3))
        shared = worker.place(sample, (0, 1, 2, 3), placement=task.shared.of(copies[2]))
        torch.testing.assert_close(shared.input.images, alone.input.images, atol=1e-6, rtol=0)
        ours, theirs = (vars(worker.reconstruct(placed).in_source()) for placed in (shared, alone))
        for name, value in theirs.items():
            torch.testing.assert_close(ours[name], value, atol=1e-6 * float(value.abs().max()), rtol=0)


def test_frames_are_steadier_in_the_world(frames, tmp_path):
    worker = reconstructor()
    reconstruct_all(worker, frames, tmp_path / "alone", task=GAUSSIANS_ONLY)
    reconstruct_all(worker, frames, tmp_path / "shared", task=together(worker, frames))
    rough, steady = (centers(tmp_path / name, frames) for name in ("alone", "shared"))
    assert jitter(steady) < 0.5 * jitter(rough)
    assert float((steady[-1] - steady[0]).norm()) > 5  # it still travels


def test_gaussians_stay_in_register_with_the_samples_own_cameras(frames, tmp_path):
    """Of a network that is the visual hull, whatever the placement."""
    worker = hull_reconstructor()
    task = together(worker, frames)
    reconstruct_all(worker, frames, tmp_path / "alone", task=GAUSSIANS_ONLY)
    reconstruct_all(worker, frames, tmp_path / "shared", task=task)
    off = [float((task.shared.of(frame).center - place(number)).norm()) for number, frame in enumerate(frames)]
    assert max(off) > 2  # mm: the crops of some frames are not centred on the ball
    moved = (centers(tmp_path / "shared", frames) - centers(tmp_path / "alone", frames)).norm(dim=1)
    assert float(moved.max()) < 0.2 * max(off)
    for number, frame in enumerate(frames):
        written = read_ply(tmp_path / "shared" / frame.name / "gaussians.ply")
        solid = written.means[written.opacities > 0.1].double()
        for view in read_sample(frame).views[:4]:
            column, row = view.camera.project(solid)[0].long().clamp(0, 47).unbind(-1)
            silhouette = ball_coverage(view.camera, place(number), 28.0 + 2 * (number % 2) + PIXEL)
            assert silhouette[row, column].mean() > 0.85  # the network is not trained


def test_a_run_that_was_stopped_goes_on_as_if_it_had_not_been(frames, tmp_path):
    worker = reconstructor()
    task = together(worker, frames)
    reconstruct_all(worker, frames, tmp_path / "whole", task=task)
    settings = describe_settings(worker, task)
    output = OutputFolder(tmp_path / "parts")
    output.require_writable()
    first = output.open(settings, frames)[:2]
    reconstruct_samples(worker, first, output, settings=settings, task=task, pace=Pace(1, 0))
    assert reconstruct_all(worker, frames, tmp_path / "parts", task=together(worker, frames[::-1])).done == 4
    assert contents(tmp_path / "parts") == contents(tmp_path / "whole")


def test_other_frames_or_another_reach_are_other_settings(frames, tmp_path):
    worker = reconstructor()
    reconstruct_all(worker, frames, tmp_path, task=together(worker, frames))
    for task, told in (
        (together(worker, frames, reach=1), "smooth_placement.reach was 5, now 1"),
        (together(worker, frames[:4]), "smooth_placement.frames was "),
        (GAUSSIANS_ONLY, "smooth_placement.reach was 5, now null"),
    ):
        with pytest.raises(UserError, match=told):
            reconstruct_all(worker, frames[:4], tmp_path, task=task)


def test_a_frame_that_cannot_be_placed_costs_itself_only(frames, tmp_path):
    copies = [shutil.copytree(frame, tmp_path / "data" / frame.name) for frame in frames[:4]]
    path = copies[1] / "images/cam_001.png"
    path.write_bytes(path.read_bytes()[:100])
    worker = reconstructor()
    summary = reconstruct_all(worker, copies, tmp_path / "out", task=together(worker, copies))
    assert summary.done == 3
    assert [(failure.sample, "truncated" in failure.reason) for failure in summary.failures] == [("frame_001", True)]
    rest = [copies[0], *copies[2:]]
    left, right = (together(worker, names).shared for names in (copies, rest))
    assert left.frames == right.frames and torch.equal(left.of(rest[1]).center, right.of(rest[1]).center)


def test_samples_in_worlds_of_their_own_are_smoothed_in_that_of_the_recording(frames, tmp_path):
    worker = reconstructor()
    own, worlds = [], []
    for number, frame in enumerate(frames):
        shift = torch.tensor([7.0 * number, -3.0 * number, 1.0], dtype=torch.float64)
        world = Similarity(torch.tensor(0.01 + 0.001 * number).double(), torch.eye(3).double(), shift)
        copy = shutil.copytree(frame, tmp_path / frame.name)
        sample = read_sample(frame)
        content = json.loads((copy / CAMERA_FILE).read_text())
        for entry, view in zip(content["frames"], sample.views, strict=True):
            entry |= camera_frames(view.camera[None].transform(world))[0]
        content["similarity"] = {"world_from_source": world.matrix().tolist()}
        (copy / CAMERA_FILE).write_text(json.dumps(content))
        own.append(copy)
        worlds.append(world)
    common, apart = (together(worker, samples).shared for samples in (frames, own))
    for frame, copy, world in zip(frames, own, worlds, strict=True):
        expected, found = common.of(frame), apart.of(copy)
        torch.testing.assert_close(
            found.world_from_source.compose(world).matrix(), expected.world_from_source.matrix(), atol=1e-4, rtol=1e-4
        )
        assert found.footprint == pytest.approx(expected.footprint * float(world.scale), rel=1e-4)
