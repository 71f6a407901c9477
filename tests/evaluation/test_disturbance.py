"""Errors are as large as is said, follow from their seed, and reach what the model is given, never the truth."""

import json
from dataclasses import replace

import cv2
import numpy as np
import pytest
import torch
from command_helpers import call
from evaluation_helpers import CENTER, ball_sample, reconstructor

from gslrm.evaluation import disturbance
from gslrm.evaluation.baselines import ALL
from gslrm.evaluation.disturbance import Disturbance, Received
from gslrm.evaluation.scoring import score_sample

GIVEN = (0, 1, 2, 3)


@pytest.fixture(scope="module")
def worker():
    return reconstructor()


@pytest.fixture(scope="module")
def sample(tmp_path_factory):
    return ball_sample(tmp_path_factory.mktemp("disturbed") / "sample_000", size=96)


def received(worker, sample, **sizes):
    return Received(worker, sample, Disturbance(**sizes))


def distance_to_outline(mask: torch.Tensor) -> np.ndarray:
    """Pixels from the outline, of a mask [1, 1, h, w]; the outline runs between pixels."""
    inside = (mask[0, 0].numpy() >= 0.5).astype(np.uint8)
    return (
        np.where(inside, cv2.distanceTransform(inside, cv2.DIST_L2, 5), cv2.distanceTransform(1 - inside, 2, 5)) - 0.5
    )


@pytest.mark.parametrize("pixels", [1.0, 2.0])
def test_no_outline_is_off_by_more_than_was_asked_for_and_some_are_off_by_nearly_as_much(worker, sample, pixels):
    farthest = []
    for seed in range(12):
        view = received(worker, sample, mask_pixels=pixels, seed=seed).view(0)
        exact = received(worker, sample).view(0)
        changed = ((view.masks >= 0.5) != (exact.masks >= 0.5))[0, 0].numpy()
        farthest.append(distance_to_outline(exact.masks)[changed].max(initial=0.0))
    assert max(farthest) <= pixels + 0.5
    assert max(farthest) >= pixels - 0.75


def test_an_outline_that_is_drawn_too_far_out_is_held_back(worker, sample, monkeypatch):
    """Interpolation between the errors along an outline can reach beyond the largest of them."""
    far = lambda size, shape, rng: np.full(shape, 3 * size, np.float32)  # noqa: E731
    monkeypatch.setattr(disturbance, "draw_growth", far)
    view, exact = received(worker, sample, mask_pixels=2.0).view(0), received(worker, sample).view(0)
    changed = ((view.masks >= 0.5) != (exact.masks >= 0.5))[0, 0].numpy()
    assert 1.25 <= distance_to_outline(exact.masks)[changed].max() <= 2.5


def test_masks_grow_and_shrink(worker, sample):
    area = [float(received(worker, sample, mask_pixels=2.0, seed=seed).view(1).masks.sum()) for seed in range(10)]
    exact = float(received(worker, sample).view(1).masks.sum())
    assert min(area) < exact < max(area)


@pytest.mark.parametrize("length", [1.0, 2.0])
def test_cameras_are_off_by_the_deviation_asked_for_and_by_nothing_else(worker, sample, length):
    views = [received(worker, sample, camera_shift=length, seed=seed).view(i) for seed in range(40) for i in range(6)]
    cameras = [view.cameras[0] for view in views]
    exact = [view.camera for view in sample.views] * 40
    offset = torch.stack([a.position - b.position for a, b in zip(cameras, exact, strict=True)])
    assert offset.std() == pytest.approx(length, rel=0.1)
    assert offset.mean(dim=0).abs().max() < 0.25 * length
    for camera, other in zip(cameras[:6], exact[:6], strict=True):
        torch.testing.assert_close(camera.world_from_camera[:3, :3], other.world_from_camera[:3, :3])
        assert torch.equal(camera.focal, other.focal) and torch.equal(camera.center, other.center)


def test_cameras_turn_by_the_deviation_asked_for(worker, sample):
    angles = []
    for seed in range(40):
        turned = received(worker, sample, camera_turn=0.5, seed=seed).view(0).cameras[0]
        relative = turned.world_from_camera[:3, :3] @ sample.views[0].camera.world_from_camera[:3, :3].mT
        angles.append(torch.rad2deg(torch.stack([relative[2, 1], relative[0, 2], relative[1, 0]])))
        turned.validate()
    assert torch.stack(angles).std() == pytest.approx(0.5, rel=0.2)


def test_aimed_cameras_see_the_middle_where_it_was(worker, sample):
    focus = CENTER  # at which the rig of the test looks
    for seed in range(5):
        error = received(worker, sample, camera_shift=3.0, camera_turn=0.2, aimed=True, seed=seed)
        moved, exact = error.view(2).cameras[0], sample.views[2].camera
        assert (moved.position - exact.position).norm() > 0.5
        middle = error._focus()
        assert (middle - focus).norm() < 20
        torch.testing.assert_close(moved.project(middle[None])[0], exact.project(middle[None])[0], atol=1e-6, rtol=0)
        moved.validate()


def test_a_views_errors_follow_from_the_seed_whatever_else_is_given_in_whatever_order(worker, sample):
    sizes = {"mask_pixels": 1.0, "camera_shift": 1.0, "camera_turn": 0.1}
    first, second = received(worker, sample, **sizes), received(worker, sample, **sizes)
    first.place((0, 1, 2, 3))
    second.place((3, 1))
    for index in (1, 3):
        a, b = first.view(index), second.view(index)
        assert torch.equal(a.masks, b.masks) and torch.equal(a.images, b.images)
        assert torch.equal(a.cameras.world_from_camera, b.cameras.world_from_camera)
    other = received(worker, sample, **sizes, seed=1).view(1)
    assert not torch.equal(first.view(1).masks, other.masks)
    shift = lambda source, view=1: source.view(view).cameras.position - sample.views[view].camera.position  # noqa: E731
    assert not torch.allclose(shift(first, 0), shift(first, 1))
    elsewhere = received(worker, replace(sample, directory=sample.directory.with_name("sample_001")), **sizes)
    elsewhere._views[1] = elsewhere._disturbed(sample.views[1])
    assert not torch.allclose(shift(first), shift(elsewhere))


def test_camera_errors_of_one_seed_grow_with_their_size(worker, sample):
    offsets = [
        received(worker, sample, camera_shift=size).view(0).cameras.position[0] - sample.views[0].camera.position
        for size in (1.0, 2.0)
    ]
    torch.testing.assert_close(2 * offsets[0], offsets[1])


def test_without_errors_the_model_receives_what_it_always_did(worker, sample):
    a, b = received(worker, sample).place(GIVEN), worker.place(sample, GIVEN)
    assert torch.equal(a.input.images, b.input.images) and torch.equal(a.input.masks, b.input.masks)
    assert torch.equal(a.input.cameras.world_from_camera, b.input.cameras.world_from_camera)
    vanishing = received(worker, sample, camera_shift=1e-9).place(GIVEN)  # by the way of errors
    torch.testing.assert_close(vanishing.input.images, b.input.images, atol=1e-5, rtol=0)
    torch.testing.assert_close(vanishing.input.masks, b.input.masks, atol=1e-5, rtol=0)


def test_errors_reach_what_the_network_sees(worker, sample):
    exact = worker.place(sample, GIVEN)
    masks = received(worker, sample, mask_pixels=2.0).place(GIVEN)
    assert not torch.allclose(masks.input.masks, exact.input.masks, atol=0.02)
    cameras = received(worker, sample, camera_shift=2.0).place(GIVEN)
    assert not torch.allclose(cameras.input.cameras.position, exact.input.cameras.position, atol=1e-4)


def test_errors_never_reach_the_truth(worker, sample):
    error = received(worker, sample, mask_pixels=2.0, camera_shift=3.0, camera_turn=0.5)
    placed, exact = error.place(GIVEN), worker.place(sample, GIVEN)
    assert placed.sample is sample
    for index in range(6):
        a, b = worker.truth(placed, index), worker.truth(exact, index)
        assert torch.equal(a.images, b.images) and torch.equal(a.masks, b.masks)
        assert torch.equal(a.cameras.world_from_camera, b.cameras.world_from_camera)


def test_the_hull_is_made_of_what_the_model_received_and_plain_baselines_of_the_exact_views(worker, sample):
    def scores(error):
        reconstruction = worker.reconstruct(error.place(GIVEN))
        (view,) = score_sample(worker, reconstruction, (4,), baselines=ALL, given=error.view)
        return view.methods

    exact, wrong = scores(received(worker, sample)), scores(received(worker, sample, mask_pixels=2.0, camera_shift=4.0))
    assert wrong["visual_hull"]["mask_iou"] < exact["visual_hull"]["mask_iou"]
    for method in ("white", "mean_colour", "nearest_input"):
        assert wrong[method] == exact[method]


def test_the_command_puts_errors_in_and_says_so_in_its_report(worker, sample, tmp_path, capsys):
    content = {"model": worker.model.state_dict(), "config": worker.config.model_dump(mode="json")}
    torch.save(content, tmp_path / "network.pt")
    base = ("--checkpoint", tmp_path / "network.pt", "--data", sample.directory, "--target-views", "4", "--no-hull")
    reports = []
    for options in ((), ("--disturb-masks", "2", "--disturb-cameras", "1.5", "--disturb-aimed", "--disturb-seed", "3")):
        assert call("scripts/evaluate.py", *base, *options, "--json", tmp_path / "report.json") == 0
        reports.append(json.loads((tmp_path / "report.json").read_text()))
    sizes = {"mask_pixels": 2.0, "camera_shift": 1.5, "camera_turn": 0.0, "aimed": True, "seed": 3}
    assert reports[1]["disturbance"] == sizes and not any(reports[0]["disturbance"].values())
    exact, wrong = (report["summary"]["heldout"] for report in reports)
    assert exact["model"] != wrong["model"] and exact["nearest_input"] == wrong["nearest_input"]
    capsys.readouterr()
    assert call("scripts/evaluate.py", *base, "--disturb-masks", "-1") == 2
    assert "is no size" in capsys.readouterr().err
