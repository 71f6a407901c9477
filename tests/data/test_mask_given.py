"""Masks that somebody else made."""

import cv2
import numpy as np
import pytest
from mask_helpers import animal, iou

from gslrm.data.mask_given import black_border, from_white, threshold_given

SOFT = animal().coverage
HARD = SOFT > 0.5


def through_a_codec(quality: int) -> np.ndarray:
    picture = np.where(HARD, 255, 0).astype(np.uint8)
    return cv2.imdecode(cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, quality])[1], cv2.IMREAD_GRAYSCALE)


class TestThreshold:
    @pytest.mark.parametrize(("dtype", "full"), [(np.uint8, 255), (np.uint16, 65535)])
    def test_soft_masks_are_kept_as_they_are(self, dtype, full):
        stored = np.rint(SOFT * full).astype(dtype)
        np.testing.assert_allclose(threshold_given(stored), SOFT, atol=0.6 / full)

    @pytest.mark.parametrize("feather", [1, 2, 5])
    def test_feathered_masks_are_kept_too(self, feather):
        stored = np.rint(cv2.GaussianBlur(SOFT, (0, 0), feather) * 255).astype(np.uint8)
        np.testing.assert_allclose(threshold_given(stored), stored / 255, atol=1e-6)

    @pytest.mark.parametrize("quality", [30, 60, 85])
    def test_ringing_of_a_codec_is_gone_and_the_outline_stays(self, quality):
        stored = through_a_codec(quality)
        assert ((stored > 0) & (stored < 255)).mean() > 0.01
        found = threshold_given(stored)
        assert iou(found, HARD.astype(np.float32)) > 0.98
        away = cv2.dilate(HARD.astype(np.uint8), np.ones((9, 9), np.uint8)) == 0
        assert not found[away].any()
        assert ((found > 0) & (found < 1)).any()

    def test_the_range_of_video_is_full_scale(self):
        found = threshold_given(np.where(HARD, 235, 16).astype(np.uint8))
        assert found.min() == 0
        assert found.max() == 1
        assert iou(found, HARD.astype(np.float32)) == 1

    @pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
    def test_masks_of_zero_and_one_and_eight_bits_in_sixteen_are_understood(self, dtype):
        np.testing.assert_array_equal(threshold_given(HARD.astype(dtype)), HARD)
        np.testing.assert_array_equal(threshold_given(HARD.astype(dtype) * 255), HARD)

    def test_black_and_a_codecs_noise_on_black_are_empty(self):
        noise = (np.random.default_rng(0).random(HARD.shape) < 0.05).astype(np.uint8)
        for grey in (np.zeros_like(noise), noise, 3 * noise):
            assert not (threshold_given(grey) > 0.5).any()


class TestWhite:
    def picture(self) -> np.ndarray:
        rng = np.random.default_rng(0)
        image = np.full((*HARD.shape, 3), 254, np.uint8)
        image[HARD] = rng.integers(2, 60, (int(HARD.sum()), 3))
        return image

    def test_what_is_not_white_is_the_object(self):
        np.testing.assert_array_equal(from_white(self.picture()), HARD)

    def test_black_borders_of_undistortion_are_not(self):
        image = self.picture()
        image[:12] = 0
        image[:, :9] = np.random.default_rng(1).integers(0, 3, image[:, :9].shape)
        found = from_white(image)
        assert not found[:12].any()
        assert not found[:, :9].any()
        np.testing.assert_array_equal(found[12:, 9:], HARD[12:, 9:])

    def test_dark_fur_that_leaves_the_picture_is_no_border(self):
        image = self.picture()
        rolled = np.roll(image, -200, axis=1)
        assert not black_border(rolled).any()

    def test_a_threshold_that_is_not_white_is_refused(self):
        with pytest.raises(ValueError, match="white"):
            from_white(self.picture(), threshold=60)
