"""Laws of raw cameras: lens models against OpenCV, round trips, and where a lens has no ray."""

import math

import cv2
import numpy as np
import pytest
import torch
from calibration_helpers import EIGHT, FISHEYE, FIVE, lab_rig
from scipy.spatial.transform import Rotation

from gslrm.data.rig import PIXEL_CENTRE, Lens, RigCamera, directions_world

REAL = (-0.1593, 0.9403, -0.00109, -0.00379, -2.712)  # of the first camera of a published mouse rig
LENSES = {
    "real": Lens(REAL),
    "five": Lens(FIVE),
    "rational": Lens(EIGHT),
    "barrel": Lens((-0.35, 0.1)),
    "pincushion": Lens((0.3, 0.1, 0.002, 0.001)),
    "fisheye": Lens(FISHEYE, "fisheye"),
    "equidistant": Lens((), "fisheye"),
}


def disc(radius: float, count: int = 400, seed: int = 0) -> np.ndarray:
    generator = np.random.default_rng(seed)
    angle = 2 * np.pi * generator.random(count)
    return np.stack([np.cos(angle), np.sin(angle)], axis=1) * (radius * np.sqrt(generator.random((count, 1))))


def largest(lens: Lens) -> float:
    """Radius within which a lens is asked: most of where it is one-to-one, and no more than 72 degrees off the axis."""
    return min(0.9 * lens.radius, 3.0)


@pytest.mark.parametrize("lens", LENSES.values(), ids=LENSES)
def test_undistorting_what_a_lens_distorts_returns_it(lens):
    ideal = disc(largest(lens))
    np.testing.assert_allclose(lens.undistort(lens.distort(ideal)), ideal, atol=1e-7)


@pytest.mark.parametrize("lens", LENSES.values(), ids=LENSES)
def test_distorting_what_a_lens_undistorts_returns_it(lens):
    bent = lens.distort(disc(largest(lens), seed=1))
    np.testing.assert_allclose(lens.distort(lens.undistort(bent)), bent, atol=1e-9)


@pytest.mark.parametrize("name", ["real", "five", "rational", "barrel", "pincushion"])
def test_polynomial_lenses_are_opencvs(name):
    camera = lab_rig(1, lens=LENSES[name]).cameras[0]
    point_camera = np.concatenate([disc(largest(camera.lens)), np.ones((400, 1))], axis=1) * 5
    expected = cv2.projectPoints(
        point_camera, np.zeros(3), np.zeros(3), camera.intrinsics, np.array(camera.lens.coefficients)
    )[0]
    np.testing.assert_allclose(camera.pixels(point_camera), expected[:, 0], atol=1e-8)


@pytest.mark.parametrize("name", ["fisheye", "equidistant"])
def test_fisheye_lenses_are_opencvs(name):
    camera = lab_rig(1, lens=LENSES[name]).cameras[0]
    point_camera = np.concatenate([disc(3.0), np.ones((400, 1))], axis=1)
    expected = cv2.fisheye.projectPoints(
        point_camera[:, None], np.zeros(3), np.zeros(3), camera.intrinsics, np.array(camera.lens.coefficients)
    )[0]
    np.testing.assert_allclose(camera.pixels(point_camera), expected[:, 0], atol=1e-8)


@pytest.mark.parametrize("lens", LENSES.values(), ids=LENSES)
def test_projecting_points_along_rays_returns_their_pixels(lens):
    camera = lab_rig(2, skew=-5.8, lens=lens).cameras[1]
    pixel = np.random.default_rng(2).uniform([20, 20], [220, 188], size=(300, 2))
    rays = camera.rays(pixel)
    np.testing.assert_allclose(np.linalg.norm(rays, axis=1), 1, atol=1e-12)
    distance = np.random.default_rng(3).uniform(100, 400, size=(300, 1))
    point_world = (rays * distance - camera.camera_from_world[:3, 3]) @ camera.camera_from_world[:3, :3]
    np.testing.assert_allclose(camera.project(point_world), pixel, atol=1e-6)


def test_skew_moves_pixels_by_itself_times_the_height_in_the_image_plane():
    straight, skewed = (lab_rig(1, skew=skew, lens=Lens(FIVE)).cameras[0] for skew in (0.0, -5.8))
    point = np.array([[0.2, 0.25, 1.0], [0.1, -0.3, 1.0]])
    moved = skewed.pixels(point) - straight.pixels(point)
    expected = -5.8 * skewed.lens.distort(point[:, :2])[:, 1]
    np.testing.assert_allclose(moved, np.stack([expected, np.zeros(2)], axis=1), atol=1e-12)


def test_the_optical_axis_meets_the_principal_point():
    for camera in lab_rig(3, skew=-2.0, lens=Lens(FIVE)).cameras:
        np.testing.assert_allclose(camera.project(camera.position + 50 * camera.optical_axis), camera.intrinsics[:2, 2])


def test_what_lies_behind_a_camera_has_no_pixel():
    camera = lab_rig(1).cameras[0]
    assert np.isnan(camera.pixels(np.array([[0.1, 0.1, -1.0], [0.1, 0.1, 0.0]]))).all()


@pytest.mark.parametrize(
    ("lens", "radius"),
    [
        (Lens((-0.3,)), 1 / math.sqrt(0.9)),  # 1 - 3 * 0.3 r^2 = 0
        (Lens((0.0, 0.0, 0.0, 0.0, 0.0, -0.25)), 2.0),  # the rational model's pole
        (Lens((-1 / 3,), "fisheye"), math.tan(1.0)),  # 1 - a^2 = 0
        (Lens((0.0, -0.2), "fisheye"), math.tan(1.0)),  # 1 - a^4 = 0
        (Lens((0.0, 0.0, -1 / 7), "fisheye"), math.tan(1.0)),  # 1 - a^6 = 0
        (Lens((0.0, 0.0, 0.0, -1 / 9), "fisheye"), math.tan(1.0)),  # 1 - a^8 = 0
        (Lens((0.0, -0.2)), 1.0),  # 1 - r^4 = 0
        (Lens((0.0, 0.0, 0.0, 0.0, -1 / 7)), 1.0),  # 1 - r^6 = 0
        (Lens((0.3, 0.1)), math.inf),
        (Lens(), math.inf),
        (Lens((), "fisheye"), math.inf),
    ],
)
def test_the_radius_ends_where_the_distorted_distance_stops_growing(lens, radius):
    assert lens.radius == pytest.approx(radius, rel=1e-9)


@pytest.mark.parametrize("name", ["real", "five", "rational", "barrel", "fisheye"])
def test_the_distorted_distance_grows_up_to_the_radius_and_shrinks_right_behind_it(name):
    lens = Lens(LENSES[name].coefficients, LENSES[name].model)
    kept = [1, 1, 0, 0, 1, 1, 1, 1] if lens.model == "polynomial" else [1, 1, 1, 1]  # without the tangential part
    radial = Lens(tuple(c * k for c, k in zip(lens.coefficients, kept, strict=True)), lens.model)
    end = min(lens.radius, 5.0)
    radii = np.linspace(0, end, 1000)
    assert (np.diff(radial.distort(np.stack([radii, 0 * radii], axis=1))[:, 0]) > 0).all()
    if end < 5.0:
        behind = np.array([[end, 0.0], [end * 1.01, 0.0]])
        assert np.diff(radial.distort(behind)[:, 0]) < 0


def test_points_beyond_the_fold_have_no_pixel_although_the_polynomial_gives_one():
    camera = lab_rig(1, lens=Lens((-0.3,))).cameras[0]
    radius = camera.lens.radius
    inside, outside = np.array([radius * 0.99, 0, 1.0]), np.array([radius * 1.01, 0, 1.0])
    assert np.isfinite(camera.lens.distort(outside[:2])).all()
    assert np.isfinite(camera.pixels(inside)).all()
    assert np.isnan(camera.pixels(outside)).all()


def test_pixels_that_no_ray_reaches_have_no_direction():
    camera = lab_rig(1, lens=Lens((-0.3,))).cameras[0]
    farthest = camera.lens.distort(np.array([camera.lens.radius, 0.0]))[0]
    edge = camera.intrinsics[0, 2] + camera.intrinsics[0, 0] * farthest
    pixel = np.array([[edge + 1, camera.intrinsics[1, 2]], [edge - 1, camera.intrinsics[1, 2]]])
    rays = camera.rays(pixel)
    assert np.isnan(rays[0]).all()
    assert np.isfinite(rays[1]).all()
    assert len(directions_world(camera, pixel)) == 1


@pytest.mark.parametrize("lens", LENSES.values(), ids=LENSES)
def test_pixels_anywhere_have_the_right_ray_or_none(lens):
    camera = lab_rig(1, lens=lens).cameras[0]
    pixel = np.random.default_rng(0).uniform(-3000, 3000, size=(2000, 2))
    rays = camera.rays(pixel)
    found = np.isfinite(rays).all(axis=1)
    assert np.isnan(rays[~found]).all()
    np.testing.assert_allclose(camera.pixels(rays[found]), pixel[found], atol=1e-5)


def test_coefficients_that_are_left_out_are_zero():
    assert Lens((0.1, 0.2)) == Lens((0.1, 0.2, 0.0, 0.0, 0.0))
    assert Lens((0.0, 0.0)).is_identity
    assert not Lens((), "fisheye").is_identity
    assert not Lens((0.0, 0.0, 0.0, 0.0, 1e-3)).is_identity


@pytest.mark.parametrize(
    ("coefficients", "model"), [((0.1,) * 9, "polynomial"), ((0.1,) * 5, "fisheye"), ((math.nan,), "polynomial")]
)
def test_coefficients_that_cannot_be_are_refused(coefficients, model):
    with pytest.raises(ValueError, match="distortion coefficient"):
        Lens(coefficients, model)


def test_the_pinhole_camera_sees_along_the_same_rays_without_skew_and_lens():
    source = lab_rig(2).cameras[1]
    camera = source.pinhole()
    point_world = np.random.default_rng(0).normal(size=(50, 3)) * 20 + 50
    pixel, _ = camera.project(torch.from_numpy(point_world))
    np.testing.assert_allclose(pixel.numpy(), source.project(point_world), atol=1e-9)
    np.testing.assert_allclose(camera.position.numpy(), source.position, atol=1e-9)


def test_a_pinhole_camera_needs_the_size_of_its_pictures():
    with pytest.raises(ValueError, match="size of camera Camera1"):
        lab_rig(1, sized=False).cameras[0].pinhole()


def test_the_corner_convention_puts_the_first_pixels_centre_half_a_pixel_from_opencvs():
    pose = np.eye(4)
    pose[:3, :3] = Rotation.from_rotvec([0.1, 0.2, 0.3]).as_matrix()
    matrix = np.array([[100.0, 0.0, 31.5], [0.0, 100.0, 23.5], [0.0, 0.0, 1.0]])
    corner = matrix.copy()
    corner[:2, 2] += PIXEL_CENTRE
    point = np.array([[0.3, -0.2, 4.0]])
    expected = cv2.projectPoints(point, pose[:3, :3], np.zeros(3), matrix, None)[0][0]
    np.testing.assert_allclose(RigCamera("a", corner, pose).project(point), expected + 0.5)
