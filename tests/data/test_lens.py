import cv2
import numpy as np
import pytest
import torch
from recording_helpers import HEIGHT, WIDTH, Photographer, animal, raw_rig

from gslrm.data.lens import Cutout, resample, samples_per_pixel, source_pixels
from gslrm.data.rig import Lens, RigCamera
from gslrm.data.transforms import turn_to

ANIMAL = torch.tensor([50.0, 55.0, 16.0], dtype=torch.float64)


def turned(camera: RigCamera, focal: float = 300.0, size: int = 96):
    return turn_to(camera.pinhole(), ANIMAL, focal=focal, size=size)


def test_without_turn_or_skew_the_map_is_opencvs():
    camera = raw_rig().cameras[2]
    matrix = camera.intrinsics * [[1, 0, 1], [1, 1, 1], [1, 1, 1]]
    straight = RigCamera("a", matrix, camera.camera_from_world, camera.lens, WIDTH, HEIGHT)
    half = matrix - [[0, 0, 0.5], [0, 0, 0.5], [0, 0, 0]]
    theirs, _ = cv2.initUndistortRectifyMap(
        half, np.array(camera.lens.coefficients), np.eye(3), half, (WIDTH, HEIGHT), cv2.CV_32FC2
    )
    ours = source_pixels(straight, straight.pinhole())
    np.testing.assert_allclose(ours, theirs, atol=2e-4)


def test_every_target_pixel_shows_the_raw_pixel_of_the_same_ray():
    camera = raw_rig().cameras[1]
    target = turned(camera)
    origin, direction = target.rays()
    expected = camera.project((origin + 300 * direction).numpy()) - 0.5
    np.testing.assert_allclose(source_pixels(camera, target), expected, atol=1e-4)


def test_samples_within_a_pixel_follow_the_lens_to_a_thousandth_of_a_pixel():
    camera = raw_rig().cameras[5]
    target = turned(camera)
    fine = turn_to(camera.pinhole(), ANIMAL, focal=3 * float(target.focal[0]), size=3 * target.width)
    np.testing.assert_allclose(source_pixels(camera, target, samples=3), source_pixels(camera, fine), atol=1e-3)


def test_dropping_the_skew_would_be_seen():
    camera = raw_rig().cameras[0]
    flat = RigCamera("a", camera.intrinsics * [[1, 0, 1], [1, 1, 1], [1, 1, 1]], camera.camera_from_world, camera.lens)
    target = turned(camera)
    assert np.abs(source_pixels(camera, target) - source_pixels(flat, target)).max() > 0.1


def test_a_resampled_mask_is_the_mask_that_the_pinhole_camera_sees():
    camera = raw_rig().cameras[3]
    target = turned(camera)
    pinhole = RigCamera("p", target.intrinsics.numpy(), target.camera_from_world.numpy(), Lens(), 96, 96)
    photographer = Photographer(pinhole, size=(96, 96))
    raw = Photographer(camera).coverage([animal()])
    warped = resample(Cutout(0, 0, raw[..., None]), camera, target)[..., 0]
    assert np.abs(warped - photographer.coverage([animal()])).mean() < 0.004
    inside, truth = warped > 0.5, photographer.coverage([animal()]) > 0.5
    assert (inside & truth).sum() / (inside | truth).sum() > 0.97


def test_a_cutout_gives_what_the_whole_picture_gives():
    camera = raw_rig().cameras[3]
    target = turned(camera)
    raw = Photographer(camera).coverage([animal()])[..., None]
    rows, columns = (np.flatnonzero(raw.any(axis=axis)) for axis in ((1, 2), (0, 2)))
    part = raw[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    cutout = Cutout(int(columns[0]), int(rows[0]), np.ascontiguousarray(part))
    np.testing.assert_array_equal(resample(cutout, camera, target), resample(Cutout(0, 0, raw), camera, target))
    nothing = resample(Cutout(0, 0, raw[:0, :0]), camera, target)
    assert nothing.shape == (96, 96, 1)
    assert not nothing.any()


def test_what_the_raw_picture_does_not_show_is_empty():
    camera = raw_rig().cameras[3]
    wide = turn_to(camera.pinhole(), ANIMAL, focal=60.0, size=96)
    where = source_pixels(camera, wide)
    shown = ((where >= 0) & (where <= [WIDTH - 1, HEIGHT - 1])).min(axis=-1).astype(np.float32)
    full = resample(Cutout(0, 0, np.ones((HEIGHT, WIDTH, 1), np.float32)), camera, wide)[..., 0]
    assert 0.1 < shown.mean() < 0.4
    assert full[shown == 0].mean() < 0.02
    assert full[cv2.erode(shown, np.ones((3, 3))) == 1].min() > 0.99


def test_a_lens_that_folds_shows_nothing_twice():
    lens = Lens((-0.5,))
    camera = RigCamera("f", np.array([[100.0, 0, 50], [0, 100, 50], [0, 0, 1]]), np.eye(4), lens, 100, 100)
    wide = turn_to(camera.pinhole(), torch.tensor([0.0, 0, 1], dtype=torch.float64), focal=15.0, size=100)
    where = source_pixels(camera, wide)
    radius = np.hypot(*(np.indices((100, 100)) - 49.5)) / 15
    assert (where[radius > lens.radius + 0.1] < -1000).all()
    assert (where[radius < lens.radius - 0.1] > -1000).all()


def test_a_camera_elsewhere_is_refused():
    first, second = raw_rig().cameras[:2]
    with pytest.raises(ValueError, match="apart see different rays"):
        source_pixels(first, turned(second))


def test_shrinking_averages_as_many_samples_as_raw_pixels():
    camera = raw_rig().cameras[0]
    assert samples_per_pixel(camera, turned(camera, focal=float(camera.intrinsics[0, 0]) * 2)) == 1
    assert samples_per_pixel(camera, turned(camera, focal=float(camera.intrinsics[1, 1]) / 3)) == 3
    assert samples_per_pixel(camera, turned(camera, focal=float(camera.intrinsics[1, 1]) / 3.2)) == 4
