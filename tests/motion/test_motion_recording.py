"""From inference's output folder to a sequence with its figures and its video."""

import json
import runpy
import sys
from dataclasses import replace
from pathlib import Path

import imageio_ffmpeg
import numpy as np
import pytest
import torch
from export_helpers import mouse_like
from helpers import ring, write_ball_sample
from motion_helpers import render

from gslrm import harmonics as sh
from gslrm.data.masks import MaskPolicy
from gslrm.data.sample import CAMERA_FILE
from gslrm.errors import UserError
from gslrm.export import write_ply
from gslrm.motion import read_sequence, write_sequence
from gslrm.motion.recording import find_reconstructions, frames_of, up_of
from gslrm.motion.video import side_by_side
from gslrm.similarity import Similarity
from gslrm.types import Gaussians
from gslrm.visualize import GAP

ROOT = Path(__file__).parents[2]
RADIUS, STEP = 30.0, 2.0  # mm, mm per frame
COLOUR = (90, 60, 40)


def place(number: int) -> tuple[float, float, float]:
    return (70.0 + STEP * number, 40.0, 20.0)


def ball(center: tuple[float, float, float], count: int = 600) -> Gaussians:
    scene = mouse_like(count)
    direction = torch.nn.functional.normalize(scene.means - torch.tensor([0.1, -0.2, 0.3]), dim=-1)
    return replace(
        scene,
        means=torch.tensor(center) + 0.95 * RADIUS * direction,
        scales=torch.full((count, 3), 2.5),
        opacities=torch.full((count,), 0.95),
        harmonics=sh.degree_0_from_rgb(torch.tensor(COLOUR) / 255).expand(count, 1, 3),
    )


@pytest.fixture
def output(tmp_path) -> Path:
    """Frames 10, 11, 12, 14 of a moving ball: samples in `data`, what inference would write in `out`."""
    cameras = ring(3, size=48)
    for number in (10, 11, 12, 14):
        name = f"frame_{number:06d}"
        sample = write_ball_sample(
            tmp_path / "data" / name, cameras, center=place(number), radius=RADIUS, colour=COLOUR
        )
        write_ply(ball(place(number)), tmp_path / "out" / name / "gaussians.ply")
        (tmp_path / "out" / name / "done.json").write_text(
            json.dumps({"source": str(sample), "input_views": [0, 1], "grain": {"density": 0.4}})
        )
    return tmp_path / "out"


def in_own_worlds(output: Path) -> list[Similarity]:
    """Bring every sample and its Gaussians to a world of their own, as `prepare_data.py --world sample` does."""
    worlds = []
    for number, file in enumerate(sorted(output.glob("*/gaussians.ply"))):
        scale = torch.tensor(0.01 + 0.001 * number, dtype=torch.float64)
        own = Similarity(scale, torch.eye(3, dtype=torch.float64), torch.tensor([0.1 * number, 0.2, -0.3]).double())
        path = output.parent / "data" / file.parent.name / CAMERA_FILE
        content = json.loads(path.read_text())
        for frame in content["frames"]:
            camera_from_world = torch.tensor(frame["w2c"], dtype=torch.float64)
            inverse = own.inverse()
            moved = camera_from_world @ inverse.matrix()
            moved[:3] *= own.scale
            frame["w2c"] = moved.tolist()
        content["similarity"] = {"world_from_source": own.matrix().tolist()}
        path.write_text(json.dumps(content))
        write_ply(ball(place(int(file.parent.name[-6:]))).transform(own), file)
        worlds.append(own)
    return worlds


def centers(output: Path) -> np.ndarray:
    found = find_reconstructions(output)
    return np.stack([frame.gaussians.means.mean(dim=0).numpy() for frame in frames_of(found, 100.0)])


def test_frames_come_in_order_at_the_times_of_their_numbers_with_their_cameras(output):
    frames = list(frames_of(find_reconstructions(output), 100.0))
    assert [frame.name for frame in frames] == [f"frame_{number:06d}" for number in (10, 11, 12, 14)]
    assert [frame.time for frame in frames] == pytest.approx([0, 0.01, 0.02, 0.04])
    assert [[camera.is_input for camera in frame.cameras] for frame in frames] == [[True, True, False]] * 4
    torch.testing.assert_close(frames[0].cameras[1].camera.world_from_camera, ring(3).world_from_camera[1])
    assert frames[0].density == 0.4
    assert frames[0].sample == output.parent / "data" / "frame_000010"


def test_samples_in_worlds_of_their_own_come_back_to_that_of_the_recording(output):
    together, before = centers(output), list(frames_of(find_reconstructions(output), 100.0))
    worlds = in_own_worlds(output)
    np.testing.assert_allclose(centers(output), together, atol=1e-3)
    densities = [frame.density for frame in frames_of(find_reconstructions(output), 100.0)]
    assert densities == pytest.approx([0.4 * float(world.scale) for world in worlds])
    for ours, theirs in zip(frames_of(find_reconstructions(output), 100.0), before, strict=True):
        torch.testing.assert_close(
            ours.cameras[2].camera.world_from_camera, theirs.cameras[2].camera.world_from_camera, atol=1e-6, rtol=1e-6
        )


def test_samples_in_one_normalised_world_stay_there(output):
    world = {"world_from_source": Similarity.identity().matrix().mul(torch.tensor([[2.0], [2], [2], [1]])).tolist()}
    for path in (output.parent / "data").glob(f"*/{CAMERA_FILE}"):
        path.write_text(json.dumps({**json.loads(path.read_text()), "similarity": world}))
    assert all(frame.to_shared is None for frame in find_reconstructions(output))


def test_some_samples_without_a_world_are_refused(output):
    in_own_worlds(output)
    path = output.parent / "data" / "frame_000012" / CAMERA_FILE
    path.write_text(json.dumps({key: value for key, value in json.loads(path.read_text()).items() if key == "frames"}))
    with pytest.raises(UserError, match="frame_000012 does not say"):
        find_reconstructions(output)


def test_without_samples_there_are_no_cameras_and_z_is_up(output):
    for path in output.glob("*/done.json"):
        path.unlink()
    found = find_reconstructions(output)
    assert all(not frame.cameras and frame.sample is None for frame in frames_of(found, 100.0))
    assert up_of(found).tolist() == [0, 0, 1]
    assert len(find_reconstructions(output, output.parent / "data")[0].sample.views) == 3


@pytest.mark.parametrize("up", [(0.0, 0.0, 1.0), (0.0, -1.0, 0.0)])
def test_up_is_as_the_cameras_stand(output, up):
    turn = {(0.0, 0.0, 1.0): torch.eye(3), (0.0, -1.0, 0.0): torch.tensor([[1.0, 0, 0], [0, 0, -1], [0, 1, 0]])}[up]
    for path in (output.parent / "data").glob(f"*/{CAMERA_FILE}"):
        content = json.loads(path.read_text())
        for frame in content["frames"]:
            pose = torch.tensor(frame["w2c"], dtype=torch.float64)
            pose[:3, :3] = pose[:3, :3] @ turn.double().mT
            frame["w2c"] = pose.tolist()
        path.write_text(json.dumps(content))
    torch.testing.assert_close(up_of(find_reconstructions(output)), torch.tensor(up).double(), atol=0.15, rtol=0)


def test_names_without_numbers_count_in_their_order(output):
    for index, name in enumerate(["b", "a"]):
        write_ply(ball(place(index)), output.parent / "named" / name / "gaussians.ply")
    assert [(frame.name, frame.number) for frame in find_reconstructions(output.parent / "named")] == [
        ("a", 0),
        ("b", 1),
    ]


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda out: [path.unlink() for path in out.glob("*/gaussians.ply")], "holds no"),
        (lambda out: (out / "frame_000011" / "done.json").write_text("[1]"), "done.json cannot be used"),
        (lambda out: (out.parent / "data" / "frame_000011" / CAMERA_FILE).write_text("{"), "not valid JSON"),
    ],
)
def test_what_cannot_be_used_is_named(output, spoil, message):
    spoil(output)
    with pytest.raises(UserError, match=message):
        find_reconstructions(output)


def test_the_panels_show_the_same_crop_of_the_same_ball(output, tmp_path):
    sequence = write_sequence(
        tmp_path / "sequence", frames_of(find_reconstructions(output), 100.0), fps=100.0, unit="mm", up=(0.0, 0.0, 1.0)
    )
    policy = MaskPolicy(auto_generate=True)
    pictures = list(side_by_side(sequence, render, view=0, size=96, turns=1.0, policy=policy))
    assert len(pictures) == 4
    cell = 96
    for picture in pictures:
        edges = [picture.shape[1] - GAP - number * (cell + GAP) for number in (2, 1)]
        truth, ours = (picture[-cell - GAP : -GAP, right - cell : right].astype(float) for right in edges)
        dark_truth, dark_ours = (truth.mean(axis=2) < 160), (ours.mean(axis=2) < 160)
        overlap = (dark_truth & dark_ours).sum() / (dark_truth | dark_ours).sum()
        assert overlap > 0.75
        middle = np.argwhere(dark_ours).mean(axis=0)
        np.testing.assert_allclose(middle, [cell / 2] * 2, atol=4)  # the camera follows
    with pytest.raises(UserError, match="--view 7"):
        next(side_by_side(sequence, render, view=7, size=96, turns=1.0, policy=policy))


def run(*arguments: object) -> int:
    argv, sys.argv = sys.argv, ["make_sequence.py", *map(str, arguments)]
    try:
        runpy.run_path(str(ROOT / "scripts" / "make_sequence.py"), run_name="__main__")
    except SystemExit as end:
        return int(end.code or 0)
    finally:
        sys.argv = argv
    return 0


def test_the_command_writes_a_sequence_with_figures_and_a_video(output, capsys):
    assert run(output, "--fps", 100, "--unit", "mm", "--smooth", 2, "--size", 64) == 0
    folder = output / "sequence"
    assert len(read_sequence(folder)) == 4
    figures = json.loads((folder / "motion.json").read_text())
    assert figures["means"]["speed"] == pytest.approx(100 * STEP, rel=0.01)
    assert "speed of the centre" in (folder / "motion.html").read_text()
    assert imageio_ffmpeg.count_frames_and_secs(str(folder / "side_by_side.mp4"))[0] == 4
    assert "4 frames" in capsys.readouterr().out
    assert run(output, "--fps", 50, "--no-video") == 0  # again: the earlier sequence is replaced
    assert not (folder / "side_by_side.mp4").exists() and read_sequence(folder).manifest.fps == 50


def test_the_command_ends_with_a_sentence_when_there_is_nothing(tmp_path, capsys):
    assert run(tmp_path) == 2
    assert "give the --output of inference.py" in capsys.readouterr().err
