"""Figures against limits: what fails, what is said, what may be switched off."""

import json
import math
from dataclasses import fields, replace

import cv2
import numpy as np
import pytest
import torch
from proof_helpers import bump, cut_thin, equalise_distances, mouse, write_one_in_metres

from gslrm.proof import Limits, prove
from gslrm.proof.prove import Proof
from gslrm.proof.quality import quality
from gslrm.proof.silhouettes import silhouette


def only_reason(proof: Proof) -> str:
    assert len(proof.reasons) == 1, proof.reasons
    return proof.reasons[0]


def with_image(shots, view, change):
    images = list(shots.images)
    images[view] = change(images[view])
    return replace(shots, images=tuple(images))


def test_an_empty_mask_fails_unless_allowed():
    shots = mouse(0).with_masks(lambda index, mask: np.zeros_like(mask) if index == 1 else mask)
    assert only_reason(shots.prove()).startswith("Camera2: the mask is empty")
    assert shots.prove(limits=Limits(empty_views=1)).passed


@pytest.mark.parametrize("seen", [0, 1])
def test_fewer_than_two_views_prove_nothing(seen):
    shots = mouse(0).with_masks(lambda index, mask: mask if index < seen else np.zeros_like(mask))
    proof = shots.prove(limits=Limits(empty_views=6))
    assert "fewer than two views" in only_reason(proof) and proof.diagnosis is None
    json.dumps(proof.record("x"), allow_nan=False)


def test_two_views_are_enough_to_be_measured():
    shots = mouse(0)
    proof = prove(shots.names[:2], shots.images[:2], shots.masks[:2], shots.cameras[:2])
    assert proof.passed and proof.figures.tangent < 0.3


def test_a_cut_tail_is_mentioned_but_tolerated():
    shots = mouse(1).with_masks(lambda index, mask: cut_thin(mask) if index == 3 else mask)
    proof = shots.prove()
    assert proof.passed and len(proof.verdict.warnings) == 1
    assert proof.verdict.warnings[0].startswith("Camera4: its mask lacks")
    assert only_reason(shots.prove(limits=Limits(lacking=0.1))).startswith("Camera4: its mask lacks")


def test_wrong_cameras_are_not_put_down_to_masks():
    reasons = bump(mouse(0), 2, 5.0).prove().reasons
    assert reasons and not any("mask" in reason for reason in reasons)


def test_an_animal_on_the_border_is_clipped():
    shots = mouse(3)
    low = np.argwhere((shots.masks[0] > 0.5).any(axis=0)).min()
    shift = np.array([[1.0, 0, -low - 25], [0, 1, 0]])
    proof = shots.redrawn([shift, *[np.eye(2, 3)] * 5]).prove(limits=Limits(clipped=0.02))
    assert any(reason.startswith("Camera1:") and "cut by the picture's border" in reason for reason in proof.reasons)


def test_blur_fails_by_its_limit_and_detail_is_lost_step_by_step():
    shots = mouse(0)
    blurred = [with_image(shots, 0, lambda image, s=s: cv2.GaussianBlur(image, (0, 0), s)) for s in (1, 2, 4, 8)]
    sharpness = [proof.figures.views[0].quality.sharpness for proof in map(lambda b: b.prove(), [shots, *blurred])]
    assert sharpness == sorted(sharpness, reverse=True)
    halfway = (sharpness[3] + sharpness[2]) / 2
    assert "Camera1: is blurred" in only_reason(blurred[2].prove(limits=Limits(sharpness=halfway)))


def test_sharpness_knows_neither_contrast_nor_brightness():
    shots = mouse(1)
    found = silhouette(shots.masks[0])
    first = quality(shots.images[0], shots.masks[0], found).sharpness
    second = quality((0.3 * shots.images[0] + 0.5).astype(np.float32), shots.masks[0], found).sharpness
    assert first == pytest.approx(second, rel=1e-3)


def test_exposure_outliers_and_saturation_fail():
    shots = mouse(0)
    inside = shots.masks[4] > 0.5
    bright = with_image(shots, 4, lambda image: np.where(inside[..., None], 1.0, image).astype(np.float32))
    assert any(reason.startswith("Camera5: 100% of the animal is overexposed") for reason in bright.prove().reasons)
    dark = with_image(shots, 4, lambda image: (0.3 * image).astype(np.float32))
    assert "Camera5: is 0." in only_reason(dark.prove(limits=Limits(exposure=2.0)))


def test_bytes_and_floats_are_measured_alike():
    shots = mouse(0)
    images = tuple(np.rint(image * 255).astype(np.uint8) for image in shots.images)
    first, second = shots.prove(), replace(shots, images=images).prove()
    for ours, theirs in zip(first.figures.views, second.figures.views, strict=True):
        assert ours.quality.exposure == pytest.approx(theirs.quality.exposure, abs=0.01)
        assert ours.quality.background == pytest.approx(theirs.quality.background, abs=0.01)


def test_keypoints_that_do_not_fit_fail():
    shots = mouse(0)
    points = torch.tensor([[51.0, 56.0, 20.0], [60.0, 40.0, 25.0], [30.0, 70.0, 10.0]]).double()
    pixel = np.stack([camera.project(points)[0].numpy() for camera in shots.cameras])
    assert shots.prove(keypoints=pixel).passed
    pixel[5] += 15
    assert any(reason.startswith("Camera6: keypoints reproject") for reason in shots.prove(keypoints=pixel).reasons)


def test_limits_in_pixels_grow_with_the_pictures():
    for size, limit in ((256, "(limit 1.5), rays"), (512, "(limit 3.0), rays")):
        proof = equalise_distances(mouse(0, size)).prove(with_diagnosis=False)
        assert limit in proof.reasons[0] and proof.diagnosis is None


def test_a_record_is_json_and_says_all():
    record = bump(mouse(0), 2, 1.0).prove().record("sample_7", 1.25)
    assert json.loads(json.dumps(record, allow_nan=False)) == record
    assert record["sample"] == "sample_7" and record["time"] == 1.25 and record["passed"] is False
    assert record["cause"] == "turned" and record["suspects"] == ["Camera3"]
    assert [view["name"] for view in record["views"]] == mouse(0).names
    assert record["views"][0]["keypoint"] is None and len(record["planes"][0]) == 7


def test_what_does_not_match_is_refused():
    shots = mouse(0)
    with pytest.raises(ValueError, match="5 masks"):
        prove(shots.names, shots.images, shots.masks[:5], shots.cameras)
    with pytest.raises(ValueError, match="Camera1.*differ in size"):
        prove(shots.names, [image[:100] for image in shots.images], shots.masks, shots.cameras)


def test_severity_is_one_at_the_limit():
    shots = bump(mouse(0), 2, 0.5)
    swing = shots.prove().figures.views[2].swing
    at_limit = shots.prove(limits=Limits(swing=swing, swing_noise=0.0))
    assert at_limit.severity == pytest.approx(1, abs=1e-6)
    assert math.isclose(shots.prove(limits=Limits(swing=swing / 2, swing_noise=0.0)).severity, 2, rel_tol=1e-6)


def test_every_limit_has_a_number():
    assert all(isinstance(getattr(Limits(), field.name), field.type) for field in fields(Limits))


def test_a_lone_view_in_the_midst_of_the_rays_fails_although_all_tangents_agree():
    proof = write_one_in_metres(mouse(1)).prove(limits=Limits(swing=1e6, excess=1.0, lacking=1.0))
    assert not proof.passed and proof.severity > 1
