"""Images and masks: what is read, what is refused, and colours freed from their background."""

import numpy as np
import pytest
import torch
from data_helpers import BALL
from helpers import ball_coverage, ring, write_ball_sample

from gslrm.data.images import read_image, write_image
from gslrm.data.masks import MaskPolicy, premultiply, read_view
from gslrm.data.sample import read_sample
from gslrm.errors import UserError


class TestImages:
    @pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
    @pytest.mark.parametrize("channels", [3, 4])
    def test_writing_and_reading_returns_the_image_in_rgb(self, tmp_path, dtype, channels):
        rng = np.random.default_rng(0)
        image = rng.integers(0, np.iinfo(dtype).max, (5, 7, channels), dtype=dtype)
        write_image(tmp_path / "a.png", image)
        np.testing.assert_allclose(read_image(tmp_path / "a.png"), image / np.iinfo(dtype).max, atol=1e-6)

    @pytest.mark.parametrize("share", [0.05, 0.5, 0.99])
    def test_truncated_png_are_refused_by_name(self, tmp_path, share):
        rng = np.random.default_rng(0)
        write_image(tmp_path / "a.png", rng.integers(0, 255, (64, 64, 3), dtype=np.uint8))
        content = (tmp_path / "a.png").read_bytes()
        (tmp_path / "a.png").write_bytes(content[: int(len(content) * share)])
        with pytest.raises(UserError, match=r"a\.png: PNG is truncated"):
            read_image(tmp_path / "a.png")

    def test_missing_files_and_other_content_are_refused_by_name(self, tmp_path):
        with pytest.raises(UserError, match=r"b\.png: image is missing"):
            read_image(tmp_path / "b.png")
        (tmp_path / "b.png").write_text("not an image")
        with pytest.raises(UserError, match=r"b\.png: not a readable image"):
            read_image(tmp_path / "b.png")


class TestMasks:
    def test_colours_are_freed_exactly_from_a_plain_background(self):
        coverage = np.linspace(0, 1, 64, dtype=np.float32).reshape(8, 8).repeat(8, 0).repeat(8, 1)
        coverage[:32] = 0
        colour = np.array([0.2, 0.4, 0.6], np.float32)
        for level in (1.0, 0.5, 0.0):
            stored = coverage[..., None] * colour + (1 - coverage[..., None]) * level
            np.testing.assert_allclose(premultiply(stored, coverage)[..., :3], coverage[..., None] * colour, atol=1e-6)

    def test_on_clutter_only_the_covered_part_is_kept(self):
        image = np.random.default_rng(0).random((64, 64, 3), dtype=np.float32)
        coverage = np.zeros((64, 64), np.float32)
        coverage[20:40, 20:40] = 1
        freed = premultiply(image, coverage)
        np.testing.assert_array_equal(freed[20:40, 20:40, :3], image[20:40, 20:40])
        assert freed[coverage == 0].max() == 0

    @pytest.mark.parametrize("mode", ["rgba", "rgb", "masks"])
    @pytest.mark.parametrize("bits", [8, 16])
    def test_alpha_white_and_mask_files_give_the_same_view(self, tmp_path, mode, bits):
        cameras = ring(2)
        directory = write_ball_sample(tmp_path / "s", cameras, mode=mode, bits=bits)
        view = read_sample(directory).views[1]
        image = read_view(view, MaskPolicy(auto_generate=mode == "rgb"))
        inside = ball_coverage(cameras[1], torch.tensor(BALL, dtype=torch.float64), 30.0)
        np.testing.assert_array_equal(image[..., 3], inside)
        np.testing.assert_allclose(
            image[inside][:, :3], np.tile(np.array([90, 60, 40]) / 255, (inside.sum(), 1)), atol=3e-3
        )

    def test_without_any_mask_the_cure_is_named(self, tmp_path):
        directory = write_ball_sample(tmp_path / "s", ring(2), mode="rgb")
        with pytest.raises(UserError, match=r"cam_000.png: no mask.*mouse.auto_generate_mask"):
            read_view(read_sample(directory).views[0], MaskPolicy())
