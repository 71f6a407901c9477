import math

import numpy as np
import pytest
import torch

from gslrm.cameras import Cameras
from gslrm.data.synthetic_body import build_mouse
from gslrm.data.synthetic_mouse import ARENA_HALF, sample_mouse
from gslrm.data.synthetic_pose import sample_pose, sample_shape
from gslrm.data.synthetic_rig import ARENA_CENTER, between_cameras, six_camera_rig, sphere_cameras
from gslrm.data.synthetic_scene import sample_scene
from gslrm.harmonics import rgb_from_degree_0
from gslrm.types import matrix_from_quaternion

SEEDS = range(12)


def rng(*seed: int) -> np.random.Generator:
    return np.random.default_rng(seed)


def angles(cameras: Cameras) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    offset = (cameras.position - torch.tensor(ARENA_CENTER)).numpy()
    distance = np.linalg.norm(offset, axis=-1)
    azimuth = np.rad2deg(np.arctan2(offset[:, 1], offset[:, 0]))
    return distance, azimuth, np.rad2deg(np.arcsin(offset[:, 2] / distance))


def test_the_same_seed_gives_the_same_mouse_and_another_seed_another():
    first, again, other = sample_mouse(rng(1)), sample_mouse(rng(1)), sample_mouse(rng(2))
    for name in ("means", "scales", "rotations", "opacities", "harmonics"):
        assert torch.equal(getattr(first, name), getattr(again, name))
    assert first.means.shape != other.means.shape or not torch.equal(first.means, other.means)


@pytest.mark.parametrize("seed", SEEDS)
def test_a_mouse_is_a_finite_cloud_of_small_splats_of_mouse_size_on_the_floor(seed):
    mouse = sample_mouse(rng(seed))
    for name in ("means", "scales", "rotations", "opacities", "harmonics"):
        assert getattr(mouse, name).isfinite().all()
    assert 5_000 < len(mouse.means) < 14_000
    assert mouse.scales.min() > 0.2 and mouse.scales.max() < 2
    torch.testing.assert_close(mouse.rotations.norm(dim=-1), torch.ones(len(mouse.means)))
    low, high = mouse.means.amin(dim=0), mouse.means.amax(dim=0)
    assert 0 < low[2] < 3  # it stands on the floor, not in it
    assert 60 < (high - low).norm() < 210
    assert high[2] < 110
    middle = mouse.means.mean(dim=0)[:2] - torch.tensor(ARENA_CENTER[:2])
    assert middle.abs().max() <= ARENA_HALF + 1e-3
    colour = rgb_from_degree_0(mouse.harmonics)
    assert colour.min() > 0 and colour.max() < 0.95  # never as white as the background


def test_splats_lie_flat_on_the_skin():
    skin = build_mouse(sample_shape(rng(3)), sample_pose(rng(4)))
    np.testing.assert_allclose(np.linalg.norm(skin.normals, axis=-1), 1, atol=1e-6)
    trunk = skin.pigment[:, 0] == 1  # the belly
    assert skin.normals[trunk, 2].mean() < -0.2  # outward is down there
    mouse = sample_mouse(rng(5))
    some = torch.arange(0, len(mouse.means), 20)
    distance = torch.cdist(mouse.means[some], mouse.means)
    neighbour = mouse.means[distance.topk(4, largest=False).indices[:, 1:]]
    toward = torch.nn.functional.normalize(neighbour - mouse.means[some, None], dim=-1)
    thin = matrix_from_quaternion(mouse.rotations[some])[..., None, :, 2]
    assert (toward * thin).sum(dim=-1).abs().median() < 0.15
    assert (mouse.scales[:, 2] < mouse.scales[:, 0]).all()


@pytest.mark.parametrize("seed", SEEDS)
def test_a_mouse_has_a_long_thin_bare_tail_two_ears_and_two_eyes(seed):
    shape = sample_shape(rng(seed))
    skin = build_mouse(shape, sample_pose(rng(seed, 1)))
    tail = (skin.rest[:, 0] < -0.1 * shape.tail) & (skin.pigment[:, 1] > 0.9)
    along = skin.points[tail][np.argsort(-skin.rest[tail, 0])]
    steps = np.array([along[i : i + 30].mean(axis=0) for i in range(0, len(along) - 30, 30)])
    assert np.linalg.norm(np.diff(steps, axis=0), axis=-1).sum() > 0.7 * shape.tail
    ears = skin.rest[:, 2] == 9.0
    left, right = (skin.points[ears & (np.sign(skin.rest[:, 1]) == sign)] for sign in (1, -1))
    for ear in (left, right):
        assert 8 < np.linalg.norm(np.ptp(ear, axis=0)) < 32
    assert np.linalg.norm(left.mean(axis=0) - right.mean(axis=0)) > 10
    eyes = skin.points[skin.pigment[:, 2] == 1]
    assert np.linalg.norm(eyes.max(axis=0) - eyes.min(axis=0)) > 5


def test_coats_range_from_black_to_cream():
    brightness = [float(rgb_from_degree_0(sample_mouse(rng(seed)).harmonics).median()) for seed in range(40)]
    assert min(brightness) < 0.15
    assert max(brightness) > 0.45


@pytest.mark.parametrize("seed", SEEDS)
def test_the_rig_is_an_uneven_ring_of_low_and_high_cameras_with_oblong_pixels(seed):
    rig = six_camera_rig(rng(seed), 256)
    rig.validate()
    distance, azimuth, elevation = angles(rig)
    assert distance.min() >= 300 and distance.max() <= 340
    gaps = np.diff(np.sort(azimuth), append=np.sort(azimuth)[0] + 360)
    assert gaps.min() > 30 and gaps.max() < 90
    in_ring_order = elevation[np.argsort(azimuth)] > 16
    assert (in_ring_order != np.roll(in_ring_order, 1)).all()
    assert (rig.focal[:, 1] / rig.focal[:, 0] > 1.08).all()
    assert ((rig.center - 128).abs() <= 0.08 * 256).all()
    right = rig.world_from_camera[:, :3, 0]
    assert right[:, 2].abs().max() <= math.sin(math.radians(2)) + 1e-9  # roll
    torch.testing.assert_close(six_camera_rig(rng(seed), 64).position, rig.position)


@pytest.mark.parametrize("seed", SEEDS)
def test_held_out_cameras_stand_half_way_between_ring_neighbours(seed):
    rig = six_camera_rig(rng(seed), 128)
    between = between_cameras(rig)
    between.validate()
    ring = np.sort(angles(rig)[1])
    expected = 0.5 * (ring + np.append(ring[1:], ring[0] + 360))
    difference = (angles(between)[1] - expected + 180) % 360 - 180
    np.testing.assert_allclose(difference, 0, atol=1e-6)
    assert (angles(between)[2] > 12).all() and (angles(between)[2] < 20).all()


def test_sphere_cameras_look_from_below_the_horizon_to_above_the_back():
    cameras = sphere_cameras(rng(0), 300, 128)
    cameras.validate()
    position = cameras.position - torch.tensor((51.0, 56.0, 25.0))
    elevation = torch.rad2deg(torch.asin(position[:, 2] / position.norm(dim=-1)))
    assert -5 <= elevation.min() < 0 and 65 < elevation.max() <= 80


@pytest.mark.parametrize("held_out", [True, False])
@pytest.mark.parametrize("seed", range(4))
def test_every_camera_sees_the_whole_mouse(seed, held_out):
    mouse, cameras, names = sample_scene(rng(seed), size=64, extra_views=8, held_out=held_out)
    assert len(names) == len(set(names)) == len(cameras.focal) == 14
    pixel, depth = cameras.project(mouse.means.double().expand(14, -1, -1))
    assert (depth > 100).all()
    assert (pixel > 0).all() and (pixel < 64).all()


def test_training_samples_never_have_the_held_out_cameras():
    _, train, train_names = sample_scene(rng(7), size=64, extra_views=6, held_out=False)
    _, held_out, held_out_names = sample_scene(rng(7), size=64, extra_views=6, held_out=True)
    torch.testing.assert_close(train.position[:6], held_out.position[:6])  # the same rig, as the seed is the same
    torch.testing.assert_close(held_out.position[6:], between_cameras(held_out[:6]).position)
    assert torch.cdist(train.position[6:], held_out.position[6:]).min() > 1
    assert train_names[:6] == held_out_names[:6] and not set(train_names[6:]) & set(held_out_names[6:])
