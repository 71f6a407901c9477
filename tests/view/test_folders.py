"""What is found in folders, and what is refused."""

import json
import shutil

import pytest
import torch
from view_helpers import mouse, rig, write_reconstruction

from gslrm.errors import UserError
from gslrm.export import write_gaussians
from gslrm.motion import Frame, FrameCamera, write_sequence
from gslrm.view.folders import read_scene


def test_one_sample_is_one_moment_with_its_cameras(tmp_path):
    output = write_reconstruction(tmp_path, inputs=3)
    scene = read_scene(output)
    (moment,) = scene.moments
    assert moment.name == scene.title == "moment_0" and len(moment.load().means) == 2000
    assert [camera.is_input for camera in moment.cameras] == [True, True, True, False]
    assert moment.camera("cam1").stored.image_path.is_file() and moment.grain is None
    with pytest.raises(UserError, match="no camera 'cam9'; its cameras: cam0, cam1"):
        moment.camera("cam9")


def test_samples_play_in_the_order_of_their_names(tmp_path):
    for name in ("b", "a", "c"):
        write_reconstruction(tmp_path, name)
    scene = read_scene(tmp_path / "out")
    assert [moment.name for moment in scene.moments] == ["a", "b", "c"]
    assert [moment.time for moment in scene.moments] == pytest.approx([0.0, 0.1, 0.2])


def test_samples_can_be_named_where_the_record_is_lost(tmp_path):
    output = write_reconstruction(tmp_path)
    (output / "done.json").unlink()
    assert read_scene(output).moments[0].cameras == ()
    cameras = read_scene(output, data=tmp_path / "samples", inputs=(1,)).moments[0].cameras
    assert [camera.is_input for camera in cameras] == [False, True, False, False]
    write_gaussians(mouse(), tmp_path / "other.spz")
    assert len(read_scene(tmp_path / "other.spz", data=tmp_path / "samples").moments[0].cameras) == 4


def test_samples_that_have_gone_leave_the_gaussians(tmp_path):
    output = write_reconstruction(tmp_path)
    shutil.rmtree(tmp_path / "samples")
    scene = read_scene(output)
    assert scene.moments[0].cameras == () and scene.up.tolist() == [0, 0, 1]


def test_the_grain_is_that_of_the_record_or_follows_from_the_ratio(tmp_path):
    output = write_reconstruction(tmp_path)
    record = json.loads((output / "done.json").read_text())
    grain = {"density": 0.5, "center": [48, 52, 45], "eps2d": 0.2}
    (output / "done.json").write_text(json.dumps(record | {"grain": grain}))
    moment = read_scene(output).moments[0]
    assert moment.grain.density == 0.5 and moment.grain.eps2d == 0.2
    told = read_scene(output, ratio=1.5).moments[0]
    ratios = [told.grain.ratio(camera.camera) for camera in told.cameras]
    assert sum(ratios) / len(ratios) == pytest.approx(1.5, rel=1e-2)
    (output / "done.json").write_text(json.dumps(record | {"grain": {"density": 1}}))
    with pytest.raises(UserError, match="grain needs"):
        read_scene(output)


def test_sequences_keep_their_world_their_times_and_the_pictures_of_their_samples(tmp_path):
    write_reconstruction(tmp_path, "a")
    cameras = tuple(FrameCamera(f"cam{i}", rig()[i], i == 0) for i in range(4))
    frames = [
        Frame("a", 0.0, mouse(), cameras, tmp_path / "samples" / "a", density=2.5),
        Frame("b", 0.25, mouse(shift=5), cameras[:2], tmp_path / "samples" / "gone"),
    ]
    write_sequence(tmp_path / "sequence", frames, fps=8.0, unit="mm", up=(0.0, 1.0, 0.0))
    for path in (tmp_path / "sequence", tmp_path / "sequence" / "manifest.json"):
        scene = read_scene(path)
        assert (scene.fps, scene.rate, scene.unit, scene.up.tolist()) == (8.0, 4.0, "mm", [0, 1, 0])
        assert [moment.time for moment in scene.moments] == [0.0, 0.25]
        assert scene.moments[0].camera("cam3").stored.image_path.is_file()
        assert [camera.stored for camera in scene.moments[1].cameras] == [None, None]
        torch.testing.assert_close(scene.moments[1].camera("cam1").camera.position, rig()[1].position)
        assert len(scene.moments[1].load().means) == 2000
        assert [moment.grain and moment.grain.density for moment in scene.moments] == [2.5, None]


@pytest.mark.parametrize("content", ["[1]", "{"])
def test_a_damaged_record_is_named(tmp_path, content):
    output = write_reconstruction(tmp_path)
    (output / "done.json").write_text(content)
    with pytest.raises(UserError, match="done.json"):
        read_scene(output)


def test_a_folder_without_gaussians_is_refused_with_the_cure(tmp_path):
    with pytest.raises(UserError, match="holds no Gaussians.*--output folder of inference.py"):
        read_scene(tmp_path)
