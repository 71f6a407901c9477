import math

import numpy as np
import pytest
import torch

from gslrm.cameras import Cameras
from gslrm.data.synthetic_rig import ARENA_CENTER, between_cameras, six_camera_rig, sphere_cameras
from gslrm.data.synthetic_scene import Views, sample_scene, scene_of

SEEDS = range(12)


def rng(*seed: int) -> np.random.Generator:
    return np.random.default_rng(seed)


def angles(cameras: Cameras) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    offset = (cameras.position - torch.tensor(ARENA_CENTER)).numpy()
    distance = np.linalg.norm(offset, axis=-1)
    azimuth = np.rad2deg(np.arctan2(offset[:, 1], offset[:, 0]))
    return distance, azimuth, np.rad2deg(np.arcsin(offset[:, 2] / distance))


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
    pixel, depth = cameras.project(torch.from_numpy(mouse.vertices).expand(14, -1, -1))
    assert (depth > 100).all()
    assert (pixel > 0).all() and (pixel < 64).all()


def test_training_samples_never_have_the_held_out_cameras():
    _, train, train_names = sample_scene(rng(7), size=64, extra_views=6, held_out=False)
    _, held_out, held_out_names = sample_scene(rng(7), size=64, extra_views=6, held_out=True)
    torch.testing.assert_close(train.position[:6], held_out.position[:6])  # the same rig, as the seed is the same
    torch.testing.assert_close(held_out.position[6:], between_cameras(held_out[:6]).position)
    assert torch.cdist(train.position[6:], held_out.position[6:]).min() > 1
    assert train_names[:6] == held_out_names[:6] and not set(train_names[6:]) & set(held_out_names[6:])


@pytest.mark.parametrize("seed", range(4))
def test_crops_look_at_the_mouse_from_where_the_cameras_stand(seed):
    whole, cameras, names = scene_of(rng(seed), Views(64, extra=6, held_out=False))
    mouse, crops, crop_names = scene_of(rng(seed), Views(64, extra=6, held_out=False, crop=1.25))
    np.testing.assert_array_equal(whole.vertices, mouse.vertices)
    torch.testing.assert_close(crops.position, cameras.position)
    assert names == crop_names and (crops.focal[:, 0] == crops.focal[:, 1]).all() and (crops.center == 32).all()
    pixel, _ = crops.project(torch.from_numpy(mouse.vertices).expand(12, -1, -1))
    assert (pixel > 0).all() and (pixel < 64).all()
    middle = 0.5 * (mouse.vertices.min(axis=0) + mouse.vertices.max(axis=0))
    width = (crops.position - torch.from_numpy(middle)).norm(dim=1) * 64 / crops.focal[:, 0]
    assert float(width.std() / width.mean()) < 0.02  # every crop shows as much of the world
    reach = (pixel - 32).abs().amax(dim=(1, 2))
    assert reach.max() > 16  # the mouse fills its crop as well as its tail lets it
