"""Masks from a background plate: outline, tail, shadow, exposure, soft edges and freed colours."""

import numpy as np
import pytest
from mask_helpers import animal, iou, photograph, plate

from gslrm.data.mask_background import BackgroundModel
from gslrm.data.mask_cut import drop_specks, fill_holes
from gslrm.data.mask_matting import premultiplied

SCENE = plate()


@pytest.fixture(scope="module")
def model() -> BackgroundModel:
    return BackgroundModel.from_plate(photograph(SCENE, seed=9))


class TestOutline:
    @pytest.mark.parametrize(("gain", "offset"), [(1.0, 0.0), (0.93, 5.0), (1.08, 0.0)])
    @pytest.mark.parametrize("seed", [0, 1])
    def test_an_animal_on_the_lit_floor_is_found_whatever_the_exposure(self, model, gain, offset, seed):
        drawing = animal(seed=seed)
        seen = photograph(drawing.over(SCENE), gain=gain, offset=offset, seed=seed)
        assert iou(model.segment(seen).coverage, drawing.coverage) > 0.98

    def test_fur_before_a_wall_as_dark_as_itself_is_mostly_found(self, model):
        drawing = animal(140, 120)
        assert iou(model.segment(photograph(drawing.over(SCENE))).coverage, drawing.coverage) > 0.85

    @pytest.mark.parametrize("place", [(150, 190), (140, 120)])
    def test_the_thin_tail_survives_to_its_tip(self, model, place):
        drawing = animal(*place)
        found = model.segment(photograph(drawing.over(SCENE))).coverage > 0.5
        assert found[drawing.tail > 0.5].mean() > 0.95

    def test_an_animal_that_leaves_the_picture_is_kept_to_the_border(self, model):
        drawing = animal(90, 190)
        found = model.segment(photograph(drawing.over(SCENE))).coverage
        assert drawing.coverage[:, 0].max() > 0.5
        assert found[drawing.coverage[:, 0] > 0.5, 0].min() > 0.5

    def test_vibration_of_a_third_of_a_pixel_changes_nothing(self, model):
        drawing = animal()
        scene = drawing.over(SCENE)
        shaken = 0.7 * scene + 0.3 * np.roll(scene, 1, axis=1)
        assert iou(model.segment(photograph(shaken)).coverage, drawing.coverage) > 0.97

    def test_a_departure_within_the_noise_of_a_pixel_is_found_by_its_size(self, model):
        scene, patch = SCENE.copy(), np.zeros(SCENE.shape[:2], bool)
        patch[20:80, 100:180] = True
        scene[patch] += 7.0
        scene[170:200, 140:180] = 30  # so that the colours of dark fur are known
        found = model.segment(photograph(scene, noise=4.0, seed=5)).coverage > 0.5
        assert found[patch].mean() > 0.8
        assert found[:100][~patch[:100]].mean() < 0.02


class TestParts:
    def test_specks_go_and_parts_stay(self):
        mask = np.zeros((80, 80), bool)
        mask[10:50, 10:50], mask[60:70, 60:70], mask[75:78, 5:8] = True, True, True
        kept = drop_specks(mask)
        assert kept[60:70, 60:70].all()
        assert not kept[75:78, 5:8].any()

    @pytest.mark.parametrize(("odds", "size", "is_filled"), [(-1.0, 6, True), (-6.0, 6, False), (-6.0, 3, True)])
    def test_holes_are_filled_where_the_background_is_not_clearly_seen_or_they_are_tiny(self, odds, size, is_filled):
        mask = np.ones((60, 60), bool)
        hole = np.zeros((60, 60), bool)
        hole[20 : 20 + size, 20 : 20 + size] = True
        mask[[0, -1]] = mask[:, [0, -1]] = False
        filled = fill_holes(mask & ~hole, np.where(hole, odds, 8).astype(np.float32))
        assert filled[hole].all() == is_filled
        assert not filled[0].any()


class TestNothing:
    def test_a_shadow_alone_is_no_animal(self, model):
        scene = SCENE * animal().light[..., None]
        assert (scene.mean(axis=2) < 0.7 * SCENE.mean(axis=2)).sum() > 500
        assert not (model.segment(photograph(scene)).coverage > 0.5).any()

    @pytest.mark.parametrize(("gain", "offset"), [(0.85, 0.0), (1.15, 0.0), (1.0, 12.0), (0.95, -6.0)])
    def test_another_exposure_alone_is_no_animal(self, model, gain, offset):
        assert not model.segment(photograph(SCENE, gain=gain, offset=offset)).coverage.any()

    def test_noise_alone_is_no_animal(self, model):
        for seed in range(3):
            assert not model.segment(photograph(SCENE, noise=6.0, seed=seed)).coverage.any()

    def test_a_speck_is_no_animal(self, model):
        scene = SCENE.copy()
        scene[250:253, 150:153] = 60
        assert not model.segment(photograph(scene)).coverage.any()


class TestEdges:
    def test_coverage_is_soft_for_about_a_pixel_and_exact_elsewhere(self, model):
        drawing = animal()
        found = model.segment(photograph(drawing.over(SCENE), noise=1.0)).coverage
        edge = (drawing.coverage > 0.02) & (drawing.coverage < 0.98)
        assert np.abs(found - drawing.coverage)[edge].mean() < 0.08
        assert ((found > 0.05) & (found < 0.95)).sum() < 2.5 * edge.sum()
        assert found.min() == 0
        assert found.max() == 1

    def test_the_area_is_unbiased(self, model):
        drawing = animal()
        found = model.segment(photograph(drawing.over(SCENE))).coverage
        assert found.sum() == pytest.approx(drawing.coverage.sum(), rel=0.015)

    def test_a_known_background_is_taken_out_exactly(self):
        drawing = animal()
        freed = premultiplied(
            np.rint(drawing.over(SCENE)).astype(np.uint8), drawing.coverage, SCENE * drawing.light[..., None]
        )
        share = drawing.coverage[..., None]
        assert np.abs(freed[..., :3] - share * drawing.colour / 255).max() < 0.6 / 255
        np.testing.assert_array_equal(freed[..., 3], drawing.coverage)

    def test_premultiplied_colours_have_no_halo_of_the_floor(self, model):
        drawing = animal()
        freed = model.segment(photograph(drawing.over(SCENE), noise=1.0)).premultiplied()
        assert (freed[..., :3] <= freed[..., 3:] + 1e-6).all()
        rim = (freed[..., 3] > 0.3) & (drawing.coverage < 0.9) & (drawing.tail == 0)
        straight = freed[rim][:, :3] / freed[rim][:, 3:]
        assert np.median(straight) < 90 / 255  # fur is at most 60; the floor is 210


class TestShape:
    def test_a_frame_of_another_size_is_refused(self, model):
        with pytest.raises(ValueError, match="background"):
            model.segment(np.zeros((10, 10, 3), np.uint8))

    @pytest.mark.parametrize(
        "plates", [[], np.zeros((4, 4), np.uint8), [np.zeros((4, 4, 3), np.uint8), np.zeros((4, 5, 3), np.uint8)]]
    )
    def test_what_is_no_plate_is_refused(self, plates):
        with pytest.raises(ValueError, match="uint8 RGB"):
            BackgroundModel.from_plate(plates)

    def test_several_plates_give_their_median(self):
        plates = [np.full((8, 8, 3), level, np.uint8) for level in (10, 20, 200)]
        assert (BackgroundModel.from_plate(plates).plate == 20).all()

    def test_a_prior_of_nothing_changes_nothing_and_a_strong_one_decides(self, model):
        drawing = animal()
        found = model.segment(photograph(drawing.over(SCENE)))
        assert found.revised(np.zeros(found.shape, np.float32)) is found
        without_tail = found.revised(np.where(drawing.tail > 0, -16, 0).astype(np.float32)).coverage
        assert not (without_tail > 0.5)[drawing.tail > 0.5].any()
        body = (drawing.coverage > 0.5) & (drawing.tail == 0)
        assert (without_tail > 0.5)[body].mean() > 0.98
