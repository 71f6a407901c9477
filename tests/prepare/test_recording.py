from dataclasses import replace

import numpy as np
import pytest
from recording_helpers import HEIGHT, WIDTH, raw_rig, write_video

from gslrm.errors import UserError
from gslrm.prepare.frames import FrameError
from gslrm.prepare.recording import open_recording

COUNT = 8
NAMES = ("Camera1", "Camera2", "Camera3")


def shade(camera: int, frame: int) -> int:
    return 20 * frame + 5 * camera


def write_videos(directory, names=NAMES, counts=None):
    for index, name in enumerate(names):
        frames = range((counts or [COUNT] * len(names))[index])
        write_video(
            directory / name / "0.mp4",
            [np.full((HEIGHT, WIDTH, 3), shade(index, number), np.uint8) for number in frames],
        )
    return directory


def rig_of(frames=None, count=3, **settings):
    rig = raw_rig(count)
    return replace(rig, frames=None if frames is None else np.array(frames), **settings)


def levels(pictures) -> list[int]:
    return [round(float(np.median(picture))) for picture in pictures]


def test_the_sync_table_says_which_frames_belong_together(tmp_path):
    recording = open_recording(write_videos(tmp_path), rig_of([[0, 2, 1], [1, 3, 2], [3, 5, 4]]))
    shown = list(recording.read(recording.select(slice(None))))
    expected = [[shade(camera, row[camera]) for camera in range(3)] for row in recording.frames.tolist()]
    np.testing.assert_allclose([levels(pictures) for pictures in shown], expected, atol=2)
    assert [recording.name(time) for time in range(3)] == ["frame_000000", "frame_000001", "frame_000003"]


def test_frames_are_selected_by_the_number_of_the_first_camera(tmp_path):
    recording = open_recording(write_videos(tmp_path), rig_of([[1, 0, 0], [3, 1, 1], [5, 2, 2], [7, 3, 3]]))
    assert recording.select(slice(3, 7)) == [1, 2]
    assert recording.select(slice(None, None, 2)) == [0, 2]
    with pytest.raises(UserError, match="frames 1 to 7"):
        recording.select(slice(100, 200))


def test_without_a_sync_table_videos_of_equal_length_are_paired_by_number(tmp_path):
    recording = open_recording(write_videos(tmp_path), rig_of(format="anipose"))
    assert recording.frames.tolist() == [[time] * 3 for time in range(COUNT)]


def test_sizes_come_from_the_videos(tmp_path):
    rig = rig_of(format="anipose")
    rig = replace(rig, cameras=tuple(replace(camera, width=None, height=None) for camera in rig.cameras))
    sized = open_recording(write_videos(tmp_path), rig).rig.cameras
    assert [(camera.width, camera.height) for camera in sized] == [(WIDTH, HEIGHT)] * 3


def test_cameras_can_be_chosen_and_named_by_their_folders(tmp_path):
    write_videos(tmp_path, names=("left", "right", "top"))
    chosen = {"Camera3": "left", "Camera1": "top"}
    recording = open_recording(tmp_path, rig_of([[0, 1, 2], [1, 2, 3]]), cameras=chosen)
    assert recording.rig.names == ("Camera1", "Camera3")
    assert recording.frames.tolist() == [[0, 2], [1, 3]]
    assert levels(next(recording.read([0]))) == pytest.approx([shade(2, 0), shade(0, 2)], abs=2)


@pytest.mark.parametrize(
    ("names", "counts", "rig", "message"),
    [
        (NAMES[:2], None, rig_of(), r"holds 2 cameras \(Camera1, Camera2\), but rig.mat has 3"),
        ((*NAMES, "Camera4"), None, rig_of(), "holds 4 cameras"),
        (("a", "b", "c"), None, rig_of(), "--cameras NAME=FOLDER"),
        (NAMES, None, rig_of(), "has no sync table; .* --sync index"),
        (NAMES, [8, 7, 8], rig_of(format="anipose"), "differ in length .Camera1 8, Camera2 7, Camera3 8 frames"),
        (NAMES, [8, 7, 8], rig_of([[7, 7, 7]]), "asks for frame 7 of Camera2, but .* has 7 frames"),
        (NAMES, None, rig_of([[0, 0, 0], [1, 1, 1], [2, 0, 2]]), "runs backwards at row 2"),
    ],
)
def test_cameras_and_videos_that_do_not_match_are_refused(tmp_path, names, counts, rig, message):
    write_videos(tmp_path, names, counts)
    with pytest.raises(UserError, match=message):
        open_recording(tmp_path, rig)


def test_a_calibration_of_another_picture_size_is_refused(tmp_path):
    rig = rig_of(format="anipose")
    rig = replace(rig, cameras=tuple(replace(camera, width=1152, height=1024) for camera in rig.cameras))
    with pytest.raises(UserError, match="was made for 1152x1024"):
        open_recording(write_videos(tmp_path), rig)


def test_a_principal_point_outside_the_pictures_is_refused(tmp_path):
    rig = rig_of(format="anipose")
    far = rig.cameras[1].intrinsics + np.array([[0, 0, 400.0], [0, 0, 0], [0, 0, 0]])
    cameras = (rig.cameras[0], replace(rig.cameras[1], intrinsics=far, width=None, height=None), rig.cameras[2])
    with pytest.raises(UserError, match="principal point of Camera2"):
        open_recording(write_videos(tmp_path), replace(rig, cameras=cameras))


def test_a_damaged_frame_costs_its_own_time_only(tmp_path):
    write_videos(tmp_path)
    recording = open_recording(tmp_path, rig_of([[time] * 3 for time in range(COUNT)]))

    class Damaged:
        count, width, height = COUNT, WIDTH, HEIGHT

        def read(self, wanted):
            for number in wanted:
                if number == 2:
                    raise FrameError("frame 2 is damaged")
                yield np.full((HEIGHT, WIDTH, 3), number, np.uint8)

    recording = replace(recording, sources=(recording.sources[0], Damaged(), recording.sources[2]))
    shown = list(recording.read([1, 2, 3]))
    assert isinstance(shown[1], FrameError)
    assert levels(shown[2]) == pytest.approx([shade(0, 3), 3, shade(2, 3)], abs=2)
    others = [levels([picture])[0] for picture in recording.readable(1, [0, 1, 2, 3])]
    assert others == [0, 1, 3]
