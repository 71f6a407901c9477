"""What views of one animal say about each other's masks."""

from dataclasses import replace

import cv2
import numpy as np
import pytest
from mask_helpers import iou
from recording_helpers import Photographer, animal, raw_rig

from gslrm.data.mask_background import BackgroundModel, Segmentation
from gslrm.data.mask_consensus import repair, repair_segmentations
from gslrm.data.mask_rays import cast, scene_of
from gslrm.data.rig import RigCamera

RIG = raw_rig().cameras
PHOTOGRAPHERS = [Photographer(camera) for camera in RIG]
ALONG = animal().centres @ [np.cos(0.4), np.sin(0.4), 0]
FRONT = np.argsort(np.argsort(ALONG)) >= 13  # of 16 balls
EXACT = [photographer.coverage([animal()]) for photographer in PHOTOGRAPHERS]


def copies() -> list[np.ndarray]:
    return [coverage.copy() for coverage in EXACT]


def blob(coverage: np.ndarray) -> tuple[slice, slice]:
    """A square beside the animal."""
    column = 20 if np.flatnonzero(coverage.any(axis=0))[0] > 60 else coverage.shape[1] - 40
    return slice(20, 40), slice(column, column + 20)


def front(view: int) -> np.ndarray:
    """Where a view sees the front third of the body, and no more."""
    whole = animal()
    parts = [replace(whole, centres=whole.centres[chosen], radii=whole.radii[chosen]) for chosen in (FRONT, ~FRONT)]
    head, rest = (PHOTOGRAPHERS[view].coverage([part]) for part in parts)
    return (head > 0) & (rest < 0.5)


@pytest.fixture(scope="module")
def found() -> list[Segmentation]:
    models = [BackgroundModel.from_plate(one.photograph([], seed=1)) for one in PHOTOGRAPHERS]
    pictures = [one.photograph([animal()], seed=2) for one in PHOTOGRAPHERS]
    return [model.segment(picture) for model, picture in zip(models, pictures, strict=True)]


class TestAgreement:
    def test_masks_that_agree_come_back_unchanged(self):
        found = repair(EXACT, RIG)
        for before, after in zip(EXACT, found.coverages, strict=True):
            np.testing.assert_array_equal(before, after)
        assert found.added == found.removed == (0.0,) * 6

    def test_no_ray_of_exact_masks_is_contradicted_by_any_view(self):
        scene = scene_of(EXACT, RIG)
        for view in range(6):
            contradicted = cast(scene, view, scene.masks[view])
            assert (contradicted == 0).sum() > 50
            assert (contradicted <= 0).all()

    def test_outlines_that_are_a_pixel_off_come_back_unchanged(self):
        shifted = [np.roll(coverage, (-1) ** k, axis=k % 2) for k, coverage in enumerate(EXACT)]
        for before, after in zip(shifted, repair(shifted, RIG).coverages, strict=True):
            assert iou(before, after) > 0.995

    def test_the_unit_of_the_world_does_not_matter(self):
        masks = copies()
        masks[1][front(1)] = 0
        first = repair(masks, RIG)
        second = repair(masks, [_scaled(camera, 0.001) for camera in RIG])
        for one, other in zip(first.coverages, second.coverages, strict=True):
            assert iou(one, other) > 0.999


class TestRepair:
    @pytest.mark.parametrize(
        "view", [1, 2, 4, 5]
    )  # the others look along the animal: its front is hidden in its outline
    def test_a_part_that_one_view_lacks_is_filled(self, view):
        masks = copies()
        masks[view][front(view)] = 0
        found = repair(masks, RIG)
        assert iou(masks[view], EXACT[view]) < 0.82
        assert iou(found.coverages[view], EXACT[view]) > 0.88
        assert found.missing[view].any()
        assert (found.coverages[view] > 0.5)[front(view) & (EXACT[view] > 0.5)].mean() > 0.85
        for other in set(range(6)) - {view}:
            np.testing.assert_array_equal(found.coverages[other], EXACT[other])

    @pytest.mark.parametrize("view", range(6))
    def test_a_part_that_one_view_invents_is_removed(self, view):
        masks = copies()
        masks[view][blob(EXACT[view])] = 1
        found = repair(masks, RIG)
        assert found.removed[view] > 0.02
        for after, exact in zip(found.coverages, EXACT, strict=True):
            assert iou(after, exact) > 0.99

    def test_the_thin_tail_is_neither_removed_nor_needed_twice(self):
        tail = replace(animal(), centres=animal().centres[7:], radii=animal().radii[7:])
        for photographer, after in zip(PHOTOGRAPHERS, repair(EXACT, RIG).coverages, strict=True):
            assert (after > 0.5)[photographer.coverage([tail]) > 0.5].all()

    def test_an_empty_view_abstains(self):
        masks = copies()
        masks[2][:] = 0
        found = repair(masks, RIG)
        assert not found.coverages[2].any()
        for view in (0, 1, 3, 4, 5):
            np.testing.assert_array_equal(found.coverages[view], EXACT[view])

    def test_two_views_cannot_outvote_each_other(self):
        masks = [EXACT[0].copy(), EXACT[1]]
        masks[0][blob(EXACT[0])] = 1
        np.testing.assert_array_equal(repair(masks, RIG[:2]).coverages[0], masks[0])

    def test_what_lies_outside_a_picture_is_not_held_against_it(self):
        narrow = [replace(camera, width=130) for camera in RIG]
        masks = [coverage[:, :130] for coverage in EXACT]
        assert sum(bool(mask[:, -1].any()) for mask in masks) >= 3
        for before, after in zip(masks, repair(masks, narrow).coverages, strict=True):
            assert iou(before, after) > 0.995


class TestEvidence:
    def test_what_pictures_plainly_show_stays(self, found):
        revised, ballot = repair_segmentations(found, RIG)
        for before, segmentation, after, exact in zip(found, revised, ballot.coverages, EXACT, strict=True):
            np.testing.assert_array_equal(segmentation.coverage, after)
            assert iou(after, before.coverage) > 0.98
            assert iou(after, exact) > 0.93

    @pytest.mark.parametrize(("odds", "is_filled"), [(-1.0, True), (-6.0, False)])
    @pytest.mark.parametrize("view", [1, 2, 4, 5])
    def test_a_gap_is_filled_where_the_picture_is_dark_and_left_where_the_floor_is_seen(
        self, found, view, odds, is_filled
    ):
        columns = np.flatnonzero((EXACT[view] > 0.5).sum(axis=0) > 0.8 * (EXACT[view] > 0.5).sum(axis=0).max())
        gap = np.zeros(EXACT[view].shape, bool)
        gap[:, columns[len(columns) // 4] : columns[3 * len(columns) // 4]] = True
        segmentation = found[view]
        damaged = replace(segmentation, odds=np.where(gap[segmentation.box], np.float32(odds), segmentation.odds))
        damaged = damaged.revised(np.full(damaged.shape, 1e-3, np.float32))
        inner = cv2.erode(gap.astype(np.uint8), np.ones((1, 9), np.uint8)) > 0  # soft edges reach into the gap
        body = inner & (EXACT[view] > 0.99)
        assert not (damaged.coverage > 0.5)[body].any()
        views = [damaged if number == view else one for number, one in enumerate(found)]
        after = repair_segmentations(views, RIG)[0][view].coverage > 0.5
        if is_filled:
            assert after[body].mean() > 0.6
        else:
            assert not after[body].any()


def _scaled(camera: RigCamera, scale: float) -> RigCamera:
    pose = camera.camera_from_world.copy()
    pose[:3, 3] *= scale
    return replace(camera, camera_from_world=pose)
