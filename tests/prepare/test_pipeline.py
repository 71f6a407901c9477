import json
import shutil
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from recording_helpers import Photographer, animal, raw_rig, write_dannce, write_recording, write_video

from gslrm.data.images import write_image
from gslrm.data.lists import find_samples
from gslrm.data.rig import Lens, RigCamera
from gslrm.data.sample import read_sample
from gslrm.errors import UserError
from gslrm.prepare.frames import open_frames
from gslrm.prepare.options import Options
from gslrm.prepare.pipeline import Plan, prepare

COUNT = 8
SIZE = 128
GAINS = (1.0, 1.05, 0.97, 1.02, 1.0, 0.98)


def walk() -> list[list]:
    return [[animal(40.0 + 2.0 * time, 55.0)] for time in range(COUNT)]


@pytest.fixture(scope="module")
def recording(tmp_path_factory) -> Path:
    directory = tmp_path_factory.mktemp("recording")
    write_recording(directory, raw_rig(), walk(), gains=GAINS)
    return directory


@pytest.fixture
def copied(recording, tmp_path) -> Path:
    """A copy that a test may spoil."""
    return Path(shutil.copytree(recording, tmp_path / "spoilt"))


@pytest.fixture(scope="module")
def prepared(recording, tmp_path_factory) -> Path:
    output = tmp_path_factory.mktemp("prepared") / "out"
    run(recording, output)
    return output


def run(directory: Path, output: Path, frames: slice = slice(None), workers: int = 1, **settings) -> str:
    options = Options(
        videos=directory / "videos",
        calibration=directory / "rig.mat",
        background=directory / "background",
        size=SIZE,
    )
    plan = Plan(output=output, frames=frames, workers=workers, val_share=0.2, val_blocks=1, gap=1)
    return prepare(replace(options, **settings), plan)


def files_of(directory: Path) -> dict[str, bytes]:
    return {str(path.relative_to(directory)): path.read_bytes() for path in directory.rglob("*.png")}


def test_every_moment_becomes_a_sample_named_after_its_frame(prepared):
    names = [directory.name for directory in find_samples(prepared)]
    assert names == [f"frame_{time:06d}" for time in range(COUNT)]
    train = find_samples(prepared / "data_mouse_train.txt")
    validation = find_samples(prepared / "data_mouse_val.txt")
    assert [path.name for path in train] == names[:5]
    assert [path.name for path in validation] == names[6:]


def test_written_masks_are_what_the_written_cameras_see(prepared):
    for time in (0, COUNT - 1):
        for view in read_sample(prepared / f"frame_{time:06d}").views:
            camera = view.camera
            pinhole = RigCamera(
                "p", camera.intrinsics.numpy(), camera.camera_from_world.numpy(), Lens(), camera.width, camera.height
            )
            truth = Photographer(pinhole, size=(SIZE, SIZE)).coverage(walk()[time]) > 0.5
            mask = cv2.imread(str(view.mask_path), cv2.IMREAD_GRAYSCALE) > 127
            assert (mask & truth).sum() / (mask | truth).sum() > 0.9
            assert not mask[[0, -1]].any()
            assert not mask[:, [0, -1]].any()


def test_written_cameras_stand_where_the_calibrated_ones_do(prepared):
    sample = read_sample(prepared / "frame_000003")
    for view, camera in zip(sample.views, raw_rig().cameras, strict=True):
        np.testing.assert_allclose(view.camera.position, camera.position, atol=1e-9)
        assert view.name == camera.name


def test_all_views_of_a_sample_share_one_focal_length_and_look_at_one_point(prepared):
    sample = read_sample(prepared / "frame_000003")
    focal = torch.stack([view.camera.focal for view in sample.views])
    assert float(focal.max() - focal.min()) < 1e-9
    center = torch.tensor(json.loads((sample.directory / "proof.json").read_text())["center"])
    for view in sample.views:
        pixel, _ = view.camera.project(center.double()[None])
        np.testing.assert_allclose(pixel[0], [SIZE / 2, SIZE / 2], atol=1e-6)


def test_the_same_command_again_changes_nothing_and_more_frames_are_added(recording, prepared, tmp_path):
    output = Path(shutil.copytree(prepared, tmp_path / "again"))
    shutil.rmtree(output / "frame_000002")
    before = (output / "frame_000001" / "images" / "cam_000.png").stat().st_mtime_ns
    run(recording, output)
    assert files_of(output) == files_of(prepared)
    assert (output / "frame_000001" / "images" / "cam_000.png").stat().st_mtime_ns == before


def test_several_processes_write_the_same_bytes(recording, prepared, tmp_path):
    run(recording, tmp_path / "out", frames=slice(0, COUNT, 2), workers=2)
    one = files_of(prepared)
    assert all(one[name] == content for name, content in files_of(tmp_path / "out").items())


def test_a_normalised_world_is_recorded_and_leads_back_to_the_rig(recording, prepared, tmp_path):
    run(recording, tmp_path / "out", frames=slice(3, 4), world="sample", crop="pretrained")
    sample, plain = read_sample(tmp_path / "out" / "frame_000003"), read_sample(prepared / "frame_000003")
    assert sample.world_from_source is not None
    positions = torch.stack([view.camera.position for view in sample.views])
    assert float(positions.norm(dim=1).mean()) == pytest.approx(2.7, rel=1e-9)
    back = sample.world_from_source.inverse()
    for view, original in zip(sample.views, plain.views, strict=True):
        np.testing.assert_allclose(view.camera.transform(back).position, original.camera.position, rtol=1e-9)
        assert view.camera.focal.tolist() == pytest.approx([548.9937744140625 * SIZE / 512] * 2)


def test_one_world_for_the_whole_recording_moves_no_camera_between_samples(recording, tmp_path):
    run(recording, tmp_path / "out", frames=slice(0, COUNT, 3), world="recording")
    first, *others = [read_sample(path) for path in find_samples(tmp_path / "out")]
    for sample in others:
        for view, same in zip(sample.views, first.views, strict=True):
            np.testing.assert_allclose(view.camera.position, same.camera.position, atol=1e-12)


def test_frames_added_later_share_the_recordings_world(recording, tmp_path):
    run(recording, tmp_path / "out", frames=slice(0, 3), world="recording")
    run(recording, tmp_path / "out", frames=slice(3, 6), world="recording")
    poses = [read_sample(path).views[0].camera.position.tolist() for path in find_samples(tmp_path / "out")]
    assert len(poses) == 6
    np.testing.assert_allclose(poses, [poses[0]] * 6, rtol=1e-12, atol=1e-12)


def test_whole_pictures_keep_the_calibrated_view(recording, tmp_path):
    run(recording, tmp_path / "out", frames=slice(2, 3), crop="whole")
    for view, camera in zip(read_sample(tmp_path / "out" / "frame_000002").views, raw_rig().cameras, strict=True):
        np.testing.assert_allclose(view.camera.intrinsics, camera.pinhole().intrinsics, rtol=1e-12)
        np.testing.assert_allclose(view.camera.camera_from_world, camera.camera_from_world, atol=1e-9)


def test_without_plates_the_recording_is_its_own_background(recording, tmp_path):
    run(recording, tmp_path / "plates", frames=slice(0, 1))
    scenes = [[animal(-30.0 + 20.0 * time, 35.0 + 5.0 * time, heading=0.5 * time)] for time in range(9)]
    write_recording(tmp_path / "roaming", raw_rig(), scenes, plates=False)
    run(tmp_path / "roaming", tmp_path / "out", frames=slice(4, 5), background=None)
    assert (tmp_path / "out" / "frame_000004").is_dir()


def test_an_animal_that_rests_hides_the_background(recording, tmp_path):
    with pytest.raises(UserError, match="learned from the recording itself: give --background"):
        run(recording, tmp_path / "out", background=None)
    assert not (tmp_path / "out").exists()


def test_an_animal_that_stays_within_its_own_length_is_noticed(tmp_path):
    scenes = [[animal(20.0 + 9.0 * time, 55.0, heading=0.9 * time)] for time in range(COUNT)]
    write_recording(tmp_path / "resting", raw_rig(), scenes, plates=False)
    with pytest.raises(UserError, match="what lies behind it is never seen|learned from the recording itself"):
        run(tmp_path / "resting", tmp_path / "out", background=None)
    assert not (tmp_path / "out").exists()


def test_the_real_scene_can_stay_behind_the_animal(recording, prepared, tmp_path):
    run(recording, tmp_path / "out", frames=slice(3, 4), keep_background=True)
    name = "frame_000003/images/cam_001.png"
    kept, white = (cv2.imread(str(directory / name)) for directory in (tmp_path / "out", prepared))
    assert (white == 255).all(axis=2).mean() > 0.5
    assert (kept == 255).all(axis=2).mean() < 0.05


def spoil_params(directory: Path, change) -> None:
    rig = raw_rig()
    frames = np.repeat(np.arange(COUNT)[:, None], 6, axis=1)
    write_dannce(directory / "rig.mat", replace(rig, cameras=tuple(map(change, rig.cameras))), frames)


def in_metres(camera: RigCamera) -> RigCamera:
    pose = camera.camera_from_world.copy()
    pose[:3, 3] /= 1000
    return replace(camera, camera_from_world=pose)


def mirrored(camera: RigCamera) -> RigCamera:
    return replace(camera, camera_from_world=np.diag([-1.0, 1, 1, 1]) @ camera.camera_from_world)


def transposed(camera: RigCamera) -> RigCamera:
    return replace(camera, intrinsics=camera.intrinsics.T.copy())


def cut_video(directory: Path) -> None:
    path = directory / "videos" / "Camera2" / "0.mp4"
    path.write_bytes(path.read_bytes()[:2000])


def shorten_video(directory: Path) -> None:
    picture = np.zeros((208, 240, 3), np.uint8)
    write_video(directory / "videos" / "Camera5" / "0.mp4", [picture] * (COUNT - 3))


def empty_scene(directory: Path) -> None:
    write_recording(directory, raw_rig(), [[] for _ in range(COUNT)])


def two_animals(directory: Path) -> None:
    write_recording(directory, raw_rig(), [[animal(50.0, 5.0), animal(50.0, 115.0)] for _ in range(COUNT)])


def cut_animal(directory: Path) -> None:
    write_recording(directory, raw_rig(), [[animal(50.0, 55.0).moved((0, 0, -45.0))] for _ in range(COUNT)])


BAD = {
    "camera missing": (lambda d: shutil.rmtree(d / "videos" / "Camera4"), "holds 5 cameras"),
    "sync table asks for more": (shorten_video, "asks for frame 5 of Camera5"),
    "no sync table": (lambda d: write_dannce(d / "rig.mat", raw_rig(), None), "no sync table"),
    "metres": (lambda d: spoil_params(d, in_metres), "--unit"),
    "mirrored": (lambda d: spoil_params(d, mirrored), "mirror|reflection"),
    "transposed intrinsics": (lambda d: spoil_params(d, transposed), "transposed"),
    "cut video": (cut_video, "Camera2/0.mp4: cannot be read as a video"),
    "plate missing": (lambda d: (d / "background" / "Camera3.png").unlink(), "0 plates for camera Camera3"),
    "nobody there": (empty_scene, "no animal"),
    "two animals": (two_animals, "two animals|more than one"),
    "animal cut off": (cut_animal, "cut"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input_ends_with_a_sentence_and_nothing_written(copied, tmp_path, name):
    spoil, message = BAD[name]
    spoil(copied)
    with pytest.raises(UserError, match=message):
        run(copied, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_damaged_frame_is_rejected_by_name_and_the_others_are_written(copied, tmp_path):
    pictures = copied / "videos" / "Camera2"
    frames = list(open_frames(pictures).read(range(COUNT)))
    (pictures / "0.mp4").unlink()
    for number, frame in enumerate(frames):
        write_image(pictures / f"{number:03d}.png", frame)
    damaged = pictures / "003.png"
    damaged.write_bytes(damaged.read_bytes()[:500])
    run(copied, tmp_path / "out")
    assert len(find_samples(tmp_path / "out")) == COUNT - 1
    record = json.loads((tmp_path / "out" / "rejected" / "frame_000003.json").read_text())
    assert "003.png: PNG is truncated" in record["reasons"][0]
    assert "003.png" in (tmp_path / "out" / "report.html").read_text()


def test_given_masks_are_taken_where_there_are_some(recording, prepared, tmp_path):
    for camera in raw_rig().cameras:
        (tmp_path / "masks" / camera.name).mkdir(parents=True)
        for time in (2, 5):
            coverage = Photographer(camera).coverage(walk()[time])
            write_image(tmp_path / "masks" / camera.name / f"frame_{time:06d}.png", np.uint8(coverage * 255))
    run(recording, tmp_path / "out", background=None, given_masks=tmp_path / "masks")
    assert [path.name for path in find_samples(tmp_path / "out")] == ["frame_000002", "frame_000005"]


def test_no_room_on_the_disk_is_noticed_before_anything_is_written(recording, tmp_path, monkeypatch):
    monkeypatch.setattr("gslrm.prepare.output.OutputFolder.free_bytes", lambda self: 1000)
    with pytest.raises(UserError, match="8 samples need about"):
        run(recording, tmp_path / "out")
    assert not (tmp_path / "out").exists()
