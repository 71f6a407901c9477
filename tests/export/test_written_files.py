import json
import math
from contextlib import closing
from pathlib import Path

import cv2
import imageio_ffmpeg
import numpy as np
import pytest
import torch

from gslrm import export
from gslrm.errors import UserError
from gslrm.export import video


def test_an_interrupted_writer_leaves_the_previous_file_alone(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("old")
    with pytest.raises(KeyboardInterrupt), export.replacing(path) as temporary:
        temporary.write_text("half")
        raise KeyboardInterrupt
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_an_impossible_output_folder_is_a_user_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="another output folder"):
        export.write_json(tmp_path / "file" / "a.json", {})


def test_json_round_trip_and_refusal_of_nan(tmp_path: Path) -> None:
    export.write_json(tmp_path / "a.json", {"psnr": 1.5, "names": ["a"]})
    assert json.loads((tmp_path / "a.json").read_text()) == {"psnr": 1.5, "names": ["a"]}
    with pytest.raises(ValueError):
        export.write_json(tmp_path / "a.json", {"psnr": math.nan})


def test_png_rounds_to_the_nearest_level_and_clamps(tmp_path: Path) -> None:
    values = torch.tensor([[-0.5, 0.0, 0.6 / 255, 99.4 / 255], [99.6 / 255, 254.6 / 255, 1.0, 1.5]])
    export.write_png(tmp_path / "rgb.png", torch.stack([values, torch.zeros(2, 4), torch.ones(2, 4)]))
    bgr = cv2.imread(str(tmp_path / "rgb.png"), cv2.IMREAD_UNCHANGED)
    np.testing.assert_array_equal(bgr[..., 2], [[0, 0, 1, 99], [100, 255, 255, 255]])
    assert bgr.dtype == np.uint8 and (bgr[..., 1] == 0).all() and (bgr[..., 0] == 255).all()
    export.write_png(tmp_path / "alpha.png", values[None])
    alpha = cv2.imread(str(tmp_path / "alpha.png"), cv2.IMREAD_UNCHANGED)
    np.testing.assert_array_equal(alpha, bgr[..., 2])


def test_every_level_survives_a_png(tmp_path: Path) -> None:
    levels = torch.arange(256).reshape(1, 16, 16)
    export.write_png(tmp_path / "a.png", levels / 255)
    np.testing.assert_array_equal(cv2.imread(str(tmp_path / "a.png"), cv2.IMREAD_UNCHANGED), levels[0])


def test_an_image_with_nan_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="NaN"):
        export.write_png(tmp_path / "a.png", torch.full((3, 2, 2), math.nan))


@pytest.mark.parametrize("largest", [1e-3, 0.65535, 0.7, 2.7, 246.3, 655.35, 65535.0, 65536.0, 4e6])
def test_depth_scale_uses_at_least_two_fifths_of_16_bits_and_is_round(largest: float) -> None:
    scale = export.depth_scale(largest)
    assert 0.4 * 65535 * (1 - 1e-9) < largest * scale <= 65535
    assert f"{scale:e}"[0] in "125" and float(f"{scale:.0e}") == scale


def test_depth_scale_of_nothing_is_1_and_of_nonsense_refused() -> None:
    assert export.depth_scale(0.0) == 1.0
    for nonsense in (-1.0, math.inf, math.nan):
        with pytest.raises(ValueError):
            export.depth_scale(nonsense)


def test_depth_round_trip_is_within_half_a_step(tmp_path: Path) -> None:
    depth = 300 * torch.rand(1, 20, 30, generator=torch.Generator().manual_seed(0))
    scale = export.depth_scale(depth.max().item())
    export.write_depth(tmp_path / "d.png", depth, scale)
    values = cv2.imread(str(tmp_path / "d.png"), cv2.IMREAD_UNCHANGED)
    assert values.dtype == np.uint16
    assert np.abs(values / scale - depth[0].double().numpy()).max() <= 0.5 / scale * (1 + 1e-9)


@pytest.mark.parametrize("depth", [655.36, -1.0, math.nan, math.inf])
def test_depth_that_does_not_fit_is_refused(tmp_path: Path, depth: float) -> None:
    with pytest.raises(ValueError, match="depth_scale"):
        export.write_depth(tmp_path / "d.png", torch.full((1, 2, 2), depth), 100.0)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(("height", "width"), [(64, 48), (65, 47), (64, 47)])
def test_video_has_every_frame_in_its_size_and_colour(tmp_path: Path, height: int, width: int) -> None:
    colours = np.array([(255, 255, 255), (200, 30, 40), (30, 180, 60), (20, 60, 220), (0, 0, 0), (128, 128, 128)])
    frames = (np.broadcast_to(colour.astype(np.uint8), (height, width, 3)) for colour in colours)
    export.write_video(tmp_path / "v.mp4", frames, fps=10)
    reader = imageio_ffmpeg.read_frames(str(tmp_path / "v.mp4"))
    meta = next(reader)
    size = (width + width % 2, height + height % 2)
    assert meta["source_size"] == size
    assert meta["codec"] == "h264" and meta["pix_fmt"].startswith("yuv420p(tv, bt709")  # matrix, range
    assert meta["fps"] == 10
    found = [np.frombuffer(frame, np.uint8).reshape(size[1], size[0], 3) for frame in reader]
    assert len(found) == len(colours)
    for frame, colour in zip(found, colours, strict=True):
        assert np.abs(frame.astype(int) - colour).max() <= 4
    assert list(tmp_path.iterdir()) == [tmp_path / "v.mp4"]


def test_video_keeps_the_picture_in_place_when_it_pads(tmp_path: Path) -> None:
    frame = np.full((65, 65, 3), 255, np.uint8)
    frame[:32, :16] = 0
    export.write_video(tmp_path / "v.mp4", [frame])
    reader = imageio_ffmpeg.read_frames(str(tmp_path / "v.mp4"))
    next(reader)
    found = np.frombuffer(next(reader), np.uint8).reshape(66, 66, 3).astype(int)
    reader.close()
    assert np.abs(found[:65, :65] - frame).mean() < 1
    assert found[:30, :14].max() < 40 and found[34:].min() > 215 and found[:, 18:].min() > 215


def test_a_video_that_lacks_frames_is_refused_and_leaves_no_file(tmp_path: Path, monkeypatch) -> None:
    encoder = video._encoder

    def losing_the_first(*given):
        with closing(encoder(*given)) as whole:
            whole.send(None)
            yield
            while True:
                whole.send((yield))

    monkeypatch.setattr(video, "_encoder", losing_the_first)
    frames = [np.full((32, 32, 3), 60 * number, np.uint8) for number in range(4)]
    with pytest.raises(UserError, match="wrote 3 of 4 frames"):
        export.write_video(tmp_path / "v.mp4", frames)

    def writing_nothing(*_):
        while True:
            yield

    monkeypatch.setattr(video, "_encoder", writing_nothing)
    with pytest.raises(UserError, match="wrote 0 of 4 frames"):
        export.write_video(tmp_path / "v.mp4", frames)
    assert not list(tmp_path.iterdir())


def test_video_without_frames_or_with_changing_frames_is_refused_and_leaves_no_file(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no frames"):
        export.write_video(tmp_path / "v.mp4", [])
    with pytest.raises(ValueError, match="frame 1"):
        export.write_video(tmp_path / "v.mp4", [np.zeros((16, 16, 3), np.uint8), np.zeros((16, 18, 3), np.uint8)])
    assert not list(tmp_path.iterdir())
