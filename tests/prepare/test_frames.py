import av
import numpy as np
import pytest
from recording_helpers import write_video

from gslrm.data.images import write_image
from gslrm.errors import UserError
from gslrm.prepare.frames import FrameError, in_number_order, open_frames

COUNT = 50


def pictures(count: int = COUNT, first: int = 0) -> list[np.ndarray]:
    return [np.full((48, 64, 3), 5 * (first + number), np.uint8) for number in range(count)]


def numbers_of(frames) -> list[int]:
    return [round(float(np.median(frame)) / 5) for frame in frames]


def video(directory, name="0.mp4", **settings):
    write_video(directory / name, pictures(**settings.pop("shown", {})), **settings)
    return directory


CODINGS = {
    "a.mp4": {"codec": "libx264"},
    "short_groups.mp4": {"codec": "libx264", "options": {"g": "10"}},
    "a.mkv": {"codec": "libx264", "options": {"g": "7", "bf": "2"}},
    "motion_jpeg.avi": {"codec": "mjpeg", "options": {}},
    "two_way.avi": {"codec": "mpeg4", "options": {"g": "12", "bf": "2", "qmin": "1", "qmax": "1"}},
}


@pytest.mark.parametrize("name", CODINGS)
def test_any_ascending_choice_of_frames_is_the_frames_of_those_numbers(tmp_path, name):
    source = open_frames(video(tmp_path, name, **CODINGS[name]))
    assert (source.count, source.width, source.height) == (COUNT, 64, 48)
    for wanted in ([0, 1, 2], [7], [3, 29, 30, 49], [49], list(range(COUNT))):
        frames = list(source.read(wanted))
        assert numbers_of(frames) == wanted
        assert all(frame.dtype == np.uint8 and frame.shape == (48, 64, 3) for frame in frames)


def test_numbered_chunks_are_one_video_in_the_order_of_their_numbers(tmp_path):
    for first in (0, 10, 20):
        video(tmp_path, f"{first}.mp4", shown={"count": 10, "first": first})
    source = open_frames(tmp_path)
    assert source.count == 30
    assert numbers_of(source.read([9, 10, 19, 25])) == [9, 10, 19, 25]


def test_a_folder_of_pictures_is_a_source_in_the_order_of_their_numbers(tmp_path):
    for number in (2, 10, 1):
        write_image(tmp_path / f"img{number}.png", pictures(1, number)[0])
    assert numbers_of(open_frames(tmp_path).read([0, 1, 2])) == [1, 2, 10]


def test_files_without_numbers_cannot_be_put_in_order(tmp_path):
    paths = [tmp_path / "left.mp4", tmp_path / "right.mp4"]
    with pytest.raises(UserError, match="must be numbered"):
        in_number_order(paths)


def test_a_video_that_lost_its_end_is_refused_at_the_door(tmp_path):
    path = video(tmp_path, "whole.mp4") / "whole.mp4"
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    with pytest.raises(UserError, match="whole.mp4: cannot be read as a video"):
        open_frames(tmp_path)


def test_a_video_with_its_index_in_front_that_lost_its_end_is_refused_at_the_door(tmp_path):
    cut = tmp_path / "cut" / "0.mp4"
    cut.parent.mkdir()
    video(tmp_path)
    with av.open(str(tmp_path / "0.mp4")) as source, av.open(str(cut), "w", options={"movflags": "faststart"}) as out:
        stream = out.add_stream_from_template(source.streams.video[0])
        for packet in source.demux():
            if packet.dts is not None:
                packet.stream = stream
                out.mux(packet)
    content = cut.read_bytes()
    cut.write_bytes(content[: len(content) * 3 // 4])
    with pytest.raises(UserError, match="its header promises 50 frames"):
        open_frames(cut.parent)


def test_behind_a_damaged_frame_the_video_can_be_read_again(tmp_path):
    rng = np.random.default_rng(0)
    noisy = [np.clip(rng.normal(5 * number, 9, (48, 64, 3)), 0, 255).astype(np.uint8) for number in range(COUNT)]
    write_video(tmp_path / "0.mp4", noisy, options={"g": "10", "crf": "10", "bf": "0"})
    content = bytearray((tmp_path / "0.mp4").read_bytes())
    middle = len(content) // 2
    content[middle : middle + 2500] = b"\xff" * 2500
    (tmp_path / "0.mp4").write_bytes(content)
    source = open_frames(tmp_path)
    damaged = []
    for number in range(COUNT):
        try:
            assert numbers_of(source.read([number])) == [number]
        except FrameError as error:
            assert "0.mp4" in str(error)
            damaged.append(number)
    assert damaged
    assert len(damaged) < 25
    assert 0 not in damaged
    assert 49 not in damaged


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({}, "holds neither a video"),
        ({"0.mp4": b"no video", "1.png": b""}, "holds both videos and pictures"),
        ({"0.mp4": b"no video"}, "0.mp4: cannot be read as a video"),
        ({"0.png": b"no picture"}, "0.png: not a readable image"),
    ],
)
def test_a_folder_without_usable_frames_is_refused(tmp_path, content, message):
    for name, data in content.items():
        (tmp_path / name).write_bytes(data)
    with pytest.raises(UserError, match=message):
        open_frames(tmp_path)


def test_a_picture_of_another_size_is_that_frames_fault(tmp_path):
    write_image(tmp_path / "0.png", pictures(1)[0])
    write_image(tmp_path / "1.png", pictures(1)[0][:20])
    frames = open_frames(tmp_path).read([0, 1])
    next(frames)
    with pytest.raises(FrameError, match="1.png: 64x20, not 64x48"):
        next(frames)
