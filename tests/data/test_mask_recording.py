"""Masks of an emulated lab recording against exact ones; the recording is not shipped."""

from pathlib import Path

import av
import cv2
import numpy as np
import pytest
from mask_helpers import iou

from gslrm.data.calibration import read_calibration
from gslrm.data.images import read_grey, read_image
from gslrm.data.mask_background import BackgroundModel
from gslrm.data.mask_consensus import repair, repair_segmentations
from gslrm.data.mask_quality import count_animals, mask_quality
from gslrm.data.mask_rays import cast, scene_of

CAPTURE = Path(__file__).parents[3] / "shared" / "data" / "raw_capture"
pytestmark = [pytest.mark.skipif(not CAPTURE.is_dir(), reason="the recording is not here"), pytest.mark.slow]
NAMES = [f"Camera{number}" for number in range(1, 7)]
FRAMES = (0, 10, 20, 30, 39)
LARGEST_MEDIAN = 1.2  # raw pixels; 0.7 of a 512 pixel crop


@pytest.fixture(scope="module")
def cameras():
    rig = read_calibration(CAPTURE / "label3d_dannce.mat")
    assert rig.names == tuple(NAMES)
    return rig.cameras


@pytest.fixture(scope="module")
def pictures() -> dict[int, list[np.ndarray]]:
    found: dict[int, list[np.ndarray]] = {frame: [] for frame in FRAMES}
    for name in NAMES:
        with av.open(str(CAPTURE / "videos" / name / "0.mp4")) as container:
            for number, picture in enumerate(container.decode(video=0)):
                if number in found:
                    found[number].append(picture.to_ndarray(format="rgb24"))
    return found


@pytest.fixture(scope="module")
def exact() -> dict[int, list[np.ndarray]]:
    return {
        frame: [read_grey(CAPTURE / "masks_gt" / name / f"frame_{frame:06d}.png") for name in NAMES] for frame in FRAMES
    }


@pytest.fixture(scope="module")
def found(cameras, pictures):
    plates = [np.rint(read_image(CAPTURE / "background" / f"{name}.jpg") * 255).astype(np.uint8) for name in NAMES]
    models = [BackgroundModel.from_plate(plate) for plate in plates]
    return {
        frame: repair_segmentations(
            [model.segment(picture) for model, picture in zip(models, pictures[frame], strict=True)], cameras
        )[1]
        for frame in FRAMES
    }


def rim(coverage: np.ndarray) -> np.ndarray:
    solid = (coverage > 0.5).astype(np.uint8)
    return solid - cv2.erode(solid, np.ones((3, 3), np.uint8), borderValue=1) > 0


def test_masks_agree_with_the_exact_ones(found, exact):
    figures = [iou(*pair) for frame in FRAMES for pair in zip(found[frame].coverages, exact[frame], strict=True)]
    assert np.mean(figures) > 0.97
    assert np.min(figures) > 0.93


def test_outlines_lie_on_the_exact_ones(found, exact):
    for frame in FRAMES:
        for coverage, true in zip(found[frame].coverages, exact[frame], strict=True):
            distance = cv2.distanceTransform(1 - rim(coverage).astype(np.uint8), cv2.DIST_L2, 5)[rim(true)]
            assert np.median(distance) < LARGEST_MEDIAN
            assert np.percentile(distance, 90) < 6


def test_exact_masks_come_back_unchanged(cameras, exact):
    for frame in FRAMES:
        for before, after in zip(exact[frame], repair(exact[frame], cameras).coverages, strict=True):
            assert iou(before, after) > 0.995


def test_every_pixel_of_exact_masks_is_supported_through_raw_cameras(cameras, exact):
    scene = scene_of(exact[20], cameras)
    for view in range(6):
        contradicted = cast(scene, view, scene.masks[view])
        assert (contradicted >= 0).any()
        assert (contradicted > 0).sum() == 0


def test_quality_says_that_there_is_one_animal(found, pictures):
    for frame in FRAMES:
        qualities = [mask_quality(*pair) for pair in zip(found[frame].coverages, pictures[frame], strict=True)]
        counted = count_animals(qualities)
        assert (counted.empty, counted.several) == (0, 0)
        assert all(quality.contrast_ratio > 1.5 for quality in qualities)
