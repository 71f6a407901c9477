"""Depth maps keep the surface where it is through crops, turns and the network's scale, or are refused by file."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from data_helpers import CROPS, dataset_of
from evaluation_helpers import CENTER, RADIUS, ball_depth, ball_sample, write_ball_depth
from helpers import ring

from gslrm.config import DatasetConfig
from gslrm.config_io import config_from_mapping
from gslrm.data import build_dataset
from gslrm.data.depth import resample_depth, with_depths
from gslrm.data.placed_sample import place_sample
from gslrm.data.sampler import SampleKey
from gslrm.data.transforms import turn_to
from gslrm.errors import UserError

KEY = SampleKey(0, 0)


@pytest.fixture
def sample(tmp_path):
    sample = ball_sample(tmp_path / "ball", views=8, size=96)
    write_ball_depth(sample)
    return sample


def test_points_of_the_networks_depths_lie_on_the_object_in_the_networks_world(sample):
    dataset, white = DatasetConfig(dataset_path=str(sample.directory), num_views=8, num_input_views=4), torch.ones(3)
    placed = place_sample(sample, (0, 1, 2, 3), dataset=dataset, mouse=CROPS, size=64, background=white)
    views = with_depths(placed.input, list(sample.views[:4]), placed.placement)
    world = placed.placement.world_from_source
    center, radius = world.apply(CENTER).float(), RADIUS * float(world.scale)
    for view in range(4):
        camera = views.cameras[view]
        origin, direction = camera.rays()
        depth = views.depths[view, 0]
        points = origin + (depth / (direction @ camera.world_from_camera[:3, 2]))[..., None] * direction
        away = (points - center).norm(dim=-1)[depth > 0] - radius
        assert away.abs().median() < 0.01 * radius
        covered = views.masks[view, 0] > 0.5
        assert ((depth > 0) != covered).float().mean() < 0.02  # known where the object is, to a pixel of its outline


def test_a_turned_camera_sees_its_own_z_and_not_its_neighbours():
    camera = ring(3, size=200)[0]
    away = CENTER + torch.tensor([0.0, 25.0, 10.0], dtype=torch.float64)
    turned = turn_to(camera, away, focal=float(camera.focal[0]), size=200)
    found = resample_depth(ball_depth(camera).float(), camera, turned)
    exact = ball_depth(turned).float()
    both = (found > 0) & (exact > 0)
    assert both.sum() > 500
    z_of_pixel = RADIUS / (exact > 0).sum().sqrt()  # a nearest sample is up to half a pixel off on a slope
    assert (found - exact)[both].abs().median() < z_of_pixel
    assert (found - ball_depth(camera).float())[both].abs().median() > 3 * (found - exact)[both].abs().median()


def test_the_same_camera_keeps_its_depth_and_what_is_not_known_stays_so():
    camera = ring(3, size=64)[1]
    depth = ball_depth(camera).float()
    torch.testing.assert_close(resample_depth(depth, camera, camera), depth)
    assert (resample_depth(0 * depth, camera, camera) == 0).all()


def test_items_have_depths_where_a_loss_asks_for_them_and_are_else_the_same(sample):
    plain = dataset_of(sample.directory)[KEY]
    assert plain.input.depths is None and plain.target.depths is None
    deep = dataset_of(sample.directory)
    deep.depths = True
    item = deep[KEY]
    assert item.input.depths.shape == item.input.masks.shape and item.target.depths.shape == item.target.masks.shape
    assert torch.equal(replace(item.input, depths=None).images, plain.input.images)
    targets = item.target_index.tolist()
    for place, view in enumerate(item.input_index.tolist()):
        assert torch.equal(item.input.depths[place], item.target.depths[targets.index(view)])
    assert deep.collate([item, item]).target.depths.shape == (2, 8, 1, 32, 32)


@pytest.mark.parametrize(
    ("losses", "wanted"),
    [
        ({}, False),
        ({"depth_loss_weight": 0.3}, False),
        ({"depth_loss_weight": 0.3, "depth_target": "maps"}, True),
        ({"pixel_depth_loss_weight": 0.3}, True),
    ],
)
def test_a_run_reads_depth_maps_only_for_terms_that_need_them_and_validation_never(sample, losses, wanted):
    data = {"dataset_path": str(sample.directory), "num_views": 8}
    config = config_from_mapping({"training": {"losses": losses, "dataset": data}}, source="test")
    assert build_dataset(config).depths == wanted
    assert not build_dataset(config, config.training.dataset).depths


def test_a_sample_without_depth_maps_is_refused_with_the_cure(tmp_path):
    sample = ball_sample(tmp_path / "flat", views=8)
    dataset = dataset_of(sample.directory)
    dataset.depths = True
    with pytest.raises(UserError, match=r"cam_000.png: has no depth map in .*depth, .*depth_target: hull"):
        dataset[KEY]


def test_cameras_at_different_places_have_no_common_depth_map():
    cameras = ring(3, size=32)
    with pytest.raises(ValueError, match="different rays"):
        resample_depth(torch.from_numpy(np.ones((32, 32), np.float32)), cameras[0], cameras[1])
