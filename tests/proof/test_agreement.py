"""Laws of the measures: what right data give, what they do not depend on, what each kind of error does to them."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from helpers import random_rotation
from proof_helpers import (
    MOUSE_EVAL,
    bump,
    crop_middle_and_invent_intrinsics,
    cut_thin,
    drop_skew,
    iou,
    mouse,
    ragged,
    real_rig_mouse,
    shift_center,
)

from gslrm.data.transforms import crop, turn_to, warp
from gslrm.proof.drift import find_drift
from gslrm.proof.hull import hull_miss
from gslrm.proof.keypoints import reprojection_errors
from gslrm.proof.pinholes import Pinholes
from gslrm.proof.silhouettes import silhouette
from gslrm.proof.tangents import Rims, tangents
from gslrm.similarity import Similarity

needs_mouse_eval = pytest.mark.skipif(not MOUSE_EVAL.is_dir(), reason="evaluation set is not here")


def measured(shots):
    silhouettes = [silhouette(mask) for mask in shots.masks]
    cameras = Pinholes.from_cameras(shots.cameras)
    return tangents(Rims.of(silhouettes), cameras), hull_miss(silhouettes, cameras)


@pytest.mark.parametrize("seed", range(4))
def test_right_views_agree_to_a_fraction_of_a_pixel(seed):
    planes, hull = measured(mouse(seed))
    assert planes.usable.sum() >= 24 and planes.median < 0.2
    assert max(planes.swing(6)) < 0.25
    assert hull.mean < 0.1 and max(hull.by_view()) < 0.2
    assert max(hull.lacking(2.0)) == 0 and max(hull.excess(2.0)) == 0


@needs_mouse_eval
@pytest.mark.parametrize("index", range(0, 24, 6))
def test_right_views_of_the_real_rig_agree_to_a_fraction_of_a_pixel(index):
    planes, hull = measured(real_rig_mouse(index))
    assert planes.median < 0.3 and max(planes.swing(6)) < 0.25 and hull.mean < 0.1


def test_agreement_does_not_depend_on_the_world():
    shots = mouse(0)
    world = Similarity(torch.tensor(0.013).double(), random_rotation(3), torch.tensor([5.0, -70.0, 900.0]).double())
    moved = replace(shots, cameras=tuple(camera.transform(world) for camera in shots.cameras))
    (planes, hull), (other_planes, other_hull) = measured(shots), measured(moved)
    np.testing.assert_allclose(planes.error, other_planes.error, atol=1e-6)
    assert hull.mean == pytest.approx(other_hull.mean, abs=1e-3)


def test_agreement_survives_crops_whose_cameras_follow():
    shots = mouse(1)
    middle = torch.tensor([51.0, 56.0, 25.0]).double()
    cameras = [
        turn_to(camera, middle, focal=900.0 + 40 * index, size=400) for index, camera in enumerate(shots.cameras)
    ]
    views = [
        warp(np.dstack([image * mask[..., None], mask]), source, target)
        for image, mask, source, target in zip(shots.images, shots.masks, shots.cameras, cameras, strict=True)
    ]
    masks = tuple(np.ascontiguousarray(view[..., 3]) for view in views)
    planes, hull = measured(replace(shots, masks=masks, cameras=tuple(cameras)))
    assert planes.median < 0.25 and hull.mean < 0.1


def test_a_shift_of_one_view_appears_in_its_planes_as_their_normals_say():
    shots = mouse(2)
    before, _ = measured(shots)
    shift = np.array([0.6, -0.9])
    # a picture that moves by (x, y) below a camera that stays is a camera whose centre moves the other way
    after, _ = measured(shift_center(shots, 2, tuple(-shift)))
    expected = np.where(before.first == 2, before.first_normal @ shift, 0) + np.where(
        before.second == 2, before.second_normal @ shift, 0
    )
    both = before.usable & after.usable
    error = (after.error - before.error)[both]
    assert np.abs(expected[both]).max() > 0.5
    np.testing.assert_allclose(error, expected[both], atol=0.25)


def test_a_turned_camera_swings_and_the_others_do_not():
    swing = measured(bump(mouse(0), 4, 0.5))[0].swing(6)
    assert int(np.argmax(swing)) == 4 and swing[4] > 2.5
    assert max(value for view, value in enumerate(swing) if view != 4) < 0.8


def test_a_cut_tail_makes_no_camera_swing_and_no_body_miss():
    for seed, view in ((3, 1), (1, 4), (2, 0)):
        shots = mouse(seed)
        cut = shots.with_masks(lambda index, mask, view=view: cut_thin(mask) if index == view else mask)
        planes, hull = measured(cut)
        assert iou(cut.masks[view], shots.masks[view]) < 0.9
        assert max(planes.by_view(6)) > 5 and max(planes.swing(6)) < 0.25  # the tail is missed, but nobody is off
        assert hull.mean < 0.5
        lacking = hull.lacking(4.0)
        assert lacking[view] > 0.15 and sum(lacking) - lacking[view] < 0.05


def test_an_additional_part_of_a_mask_is_denied_by_the_others():
    def add(index, mask):
        added = mask.copy()
        if index == 1:
            added[20:120, 20:120] = 1
        return added

    hull = measured(mouse(0).with_masks(add))[1]
    assert hull.excess(4.0)[1] > 0.2 and max(hull.lacking(4.0)) < 0.05


def test_what_the_frame_cuts_is_not_held_against_the_others():
    shots = mouse(3)
    camera, mask = shots.cameras[0], shots.masks[0]
    columns = np.flatnonzero((mask > 0.5).any(axis=0))
    left = int(np.quantile(columns, 0.6))
    masks, cameras = list(shots.masks), list(shots.cameras)
    masks[0] = np.ascontiguousarray(mask[:, left:])
    cameras[0] = crop(camera, left=float(left), top=0.0, width=mask.shape[1] - left, height=mask.shape[0])
    planes, hull = measured(replace(shots, masks=tuple(masks), cameras=tuple(cameras)))
    assert planes.median < 0.2 and hull.mean < 0.1


def test_a_mask_that_fills_its_picture_breaks_nothing():
    shots = mouse(0).with_masks(lambda index, mask: np.ones_like(mask) if index == 0 else mask)
    planes, hull = measured(shots)
    assert len(hull.pixel[0]) == 0 and planes.median < 0.3 and hull.mean < 0.1


def test_gross_faults_cost_many_pixels():
    planes, hull = measured(crop_middle_and_invent_intrinsics(mouse(0)))
    assert planes.median > 10 and hull.mean > 5


def marked_keypoints(shots, noise=0.0):
    rng = np.random.default_rng(0)
    points = torch.tensor([51.0, 56.0, 20.0]).double() + 30 * torch.from_numpy(rng.normal(size=(22, 3)))
    pixel = np.stack([camera.project(points)[0].numpy() for camera in shots.cameras])
    return pixel + noise * rng.normal(size=pixel.shape)


def test_exact_keypoints_reproject_exactly_and_missing_ones_stay_missing():
    shots = mouse(0)
    pixel = marked_keypoints(shots)
    pixel[2, 5], pixel[1:, 7] = np.nan, np.nan
    error = reprojection_errors(pixel, Pinholes.from_cameras(shots.cameras))
    missing = np.isnan(pixel).any(axis=2)
    missing[:, 7] = True  # one view alone proves nothing
    assert np.array_equal(np.isnan(error), missing)
    assert np.nanmax(error) < 1e-9


def test_keypoints_of_a_turned_camera_stand_out():
    shots = mouse(0)
    error = reprojection_errors(marked_keypoints(shots), Pinholes.from_cameras(bump(shots, 2, 1.0).cameras))
    view = np.median(error, axis=1)
    assert int(np.argmax(view)) == 2 and view[2] > 8


def planes_of(all_shots):
    rows, focal = [], []
    for shots in all_shots:
        planes, _ = measured(shots)
        columns = (planes.first, planes.second, planes.error, planes.first_normal, planes.second_normal)
        length = np.array([float(camera.focal.mean()) for camera in shots.cameras])
        rows.append(np.column_stack(columns)[planes.usable])
        focal.append(np.stack([length[planes.first], length[planes.second]], axis=1)[planes.usable])
    return np.concatenate(rows), np.concatenate(focal)


def drift_of(damage, views: int = 6):
    """Twenty moments of one rig, masks ragged."""
    rig = mouse(0)
    moments = [ragged(rig, seed) for seed in range(24)]
    return find_drift(*planes_of([damage(shots) for shots in moments]), samples=24, width=512.0)


@pytest.mark.parametrize("axis", [(1.0, 0.0, 0.0), (0.0, 1.0, 0.0)])
def test_many_ragged_samples_show_and_measure_a_camera_turned_by_a_fifth_of_a_degree(axis):
    found = drift_of(lambda shots: bump(shots, 2, 0.2, axis))
    assert found and found[0].view == 2
    assert found[0].degrees == pytest.approx(0.2, abs=0.08)


def test_many_ragged_samples_of_a_right_rig_show_nothing():
    assert drift_of(lambda shots: shots) == []


@needs_mouse_eval
@pytest.mark.slow
def test_dropped_skew_shows_in_many_exact_samples():
    right = [real_rig_mouse(index) for index in range(24)]
    assert find_drift(*planes_of(right), samples=24, width=512.0) == []
    assert find_drift(*planes_of([drop_skew(shots) for shots in right]), samples=24, width=512.0)
