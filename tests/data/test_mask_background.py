"""Masks from a background plate: outline, tail, shadow, exposure, soft edges and freed colours."""

import numpy as np
import pytest
from mask_helpers import animal, iou, photograph, plate

from gslrm.data.mask_background import BackgroundModel
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
