"""Figures of masks."""

import cv2
import numpy as np
import pytest
from mask_helpers import animal, photograph, plate

from gslrm.data.mask_quality import count_animals, mask_quality

GREY = np.full((100, 120, 3), 200, np.uint8)


def disc(x: int, y: int, radius: int) -> np.ndarray:
    return cv2.circle(np.zeros((100, 120), np.float32), (x, y), radius, 1.0, -1)


class TestFigures:
    def test_an_empty_mask_says_so(self):
        found = mask_quality(np.zeros((100, 120), np.float32), GREY)
        assert found.is_empty
        assert found.foreground == 0

    def test_a_disc_has_its_area_one_part_and_no_border(self):
        found = mask_quality(disc(60, 50, 20), GREY)
        assert found.foreground == pytest.approx(np.pi * 20**2 / 12000, rel=0.03)
        assert (found.parts, found.largest, found.second, found.border, found.holes) == (1, 1.0, 0.0, 0.0, 0)

    def test_two_discs_are_two_parts_with_their_shares(self):
        found = mask_quality(np.maximum(disc(30, 50, 20), disc(90, 50, 10)), GREY)
        assert found.parts == 2
        assert found.second / found.largest == pytest.approx(0.25, rel=0.05)

    def test_a_disc_cut_in_half_lies_on_the_border_with_its_diameter(self):
        found = mask_quality(disc(60, 0, 20), GREY)
        assert found.border == pytest.approx(2 / (2 + np.pi), rel=0.15)

    def test_a_ring_has_a_hole_and_a_bay_is_none(self):
        ring = disc(60, 50, 30) - disc(60, 50, 10)
        found = mask_quality(ring, GREY)
        assert found.holes == 1
        assert found.hole_share == pytest.approx(1 / 8, rel=0.05)
        ring[50:, 55:66] = 0
        assert mask_quality(ring, GREY).holes == 0

    def test_an_outline_on_an_edge_of_the_picture_has_contrast_and_one_beside_it_has_none(self):
        image = np.where(disc(60, 50, 20)[..., None] > 0, 40, GREY).astype(np.uint8)
        good, bad = mask_quality(disc(60, 50, 20), image), mask_quality(disc(60, 50, 30), image)
        assert good.contrast > 100
        assert good.contrast_ratio > 3
        assert bad.contrast < 5

    def test_softness_is_the_width_of_the_edge(self):
        hard = disc(60, 50, 25)
        assert mask_quality(hard, GREY).softness == 0
        widths = [mask_quality(cv2.GaussianBlur(hard, (0, 0), blur), GREY).softness for blur in (1.0, 2.0)]
        assert widths[0] == pytest.approx(2 * 1.64, rel=0.25)
        assert widths[1] == pytest.approx(2 * widths[0], rel=0.25)

    def test_a_real_mask_follows_the_picture(self):
        drawing = animal()
        found = mask_quality(drawing.coverage, photograph(drawing.over(plate())))
        assert found.contrast_ratio > 3
        assert found.parts == 1


class TestAnimals:
    def test_moments_without_half_and_with_two_animals_are_told_apart(self):
        nothing = mask_quality(np.zeros((100, 120), np.float32), GREY)
        one = mask_quality(disc(60, 50, 20), GREY)
        two = mask_quality(np.maximum(disc(30, 50, 20), disc(90, 50, 15)), GREY)
        half = mask_quality(disc(60, 0, 20), GREY)
        assert vars(count_animals([nothing, one, one])) == {"empty": 1, "several": 0, "cut_off": 0}
        assert count_animals([two, two, one]).several == 2
        assert count_animals([half, one]).cut_off == 1

    def test_a_tail_cut_from_the_body_is_no_second_animal(self):
        drawing = animal()
        image = photograph(drawing.over(plate()))
        mask = drawing.coverage.copy()
        mask[:, 95:102] = 0
        found = mask_quality(mask, image)
        assert found.parts == 2
        assert count_animals([found]).several == 0
