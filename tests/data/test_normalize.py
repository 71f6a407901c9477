"""Object-centred crops: geometry survives every step, in any unit, place and tilt."""

import numpy as np
import pytest
import torch
from data_helpers import BALL, CROPS, dataset_of
from helpers import ball_coverage, ring, write_ball_sample

from gslrm.config import DatasetConfig, MouseConfig
from gslrm.data.normalize import place_object
from gslrm.data.placed_sample import place_sample
from gslrm.data.sample import read_sample
from gslrm.data.sampler import SampleKey
from gslrm.errors import UserError


class TestNormalisation:
    def test_the_ball_is_found_centred_and_scaled(self, sample_dir):
        dataset = dataset_of(sample_dir, size=64)
        placed = place_sample(
            dataset.sample(0), (0, 1, 2, 3, 4), dataset=dataset.dataset, mouse=CROPS, size=64, background=torch.ones(3)
        )
        center = placed.placement.world_from_source.apply(torch.tensor([BALL], dtype=torch.float64))
        assert center.norm() < 0.02
        torch.testing.assert_close(float(placed.placement.world_from_source.scale), 1.2 / 60, rtol=0.05, atol=0)
        for mask in placed.input.masks[:, 0]:
            row, column = torch.nonzero(mask > 0.5, as_tuple=True)
            assert abs(row.double().mean() + 0.5 - 32) < 0.7
            assert abs(column.double().mean() + 0.5 - 32) < 0.7
            torch.testing.assert_close(float(column.max() - column.min() + 1), 64 * 1.2 / 1.5, rtol=0.06, atol=0)

    @pytest.mark.parametrize("unit", [1.0, 0.001, 37.0])
    def test_the_unit_and_place_of_the_world_do_not_matter(self, tmp_path, unit):
        base = ring(5)
        pose = base.world_from_camera.clone()
        pose[:, :3, 3] = pose[:, :3, 3] * unit
        from dataclasses import replace

        scaled = write_ball_sample(
            tmp_path / "s",
            replace(base, world_from_camera=pose),
            center=tuple(v * unit for v in BALL),
            radius=30 * unit,
        )
        plain = write_ball_sample(tmp_path / "p", base, center=BALL)
        a, b = (dataset_of(path, num_views=5)[SampleKey(0, 0)] for path in (scaled, plain))
        torch.testing.assert_close(
            a.input.cameras.world_from_camera, b.input.cameras.world_from_camera, atol=1e-4, rtol=0
        )
        torch.testing.assert_close(a.input.images, b.input.images, atol=1e-3, rtol=0)

    def test_crops_see_the_same_rays_as_the_stored_images(self, sample_dir):
        """The law behind everything: a ball projected by the crop's own camera covers the crop's own mask."""
        item = dataset_of(sample_dir, size=64, num_views=8, num_input_views=6)[SampleKey(0, 0)]
        placed = place_sample(
            read_sample(sample_dir),
            (0, 1, 2, 3, 4, 5),
            dataset=DatasetConfig(),
            mouse=CROPS,
            size=64,
            background=torch.ones(3),
        )
        similarity = placed.placement.world_from_source
        center = similarity.apply(torch.tensor([BALL], dtype=torch.float64))[0]
        for view in range(8):
            truth = ball_coverage(item.target.cameras.to(torch.float64)[view], center, 30 * float(similarity.scale))
            wrong = (truth != (item.target.masks[view, 0] > 0.5).numpy()).sum()
            assert wrong / truth.sum() < 0.06  # pixels on the outline, blurred by two resamplings

    def test_the_mean_distance_is_the_target_distance_and_geometry_one_similarity(self, sample_dir):
        mouse = MouseConfig(normalize_cameras=True, target_camera_distance=2.7)
        item = dataset_of(sample_dir, mouse=mouse, num_input_views=8)[SampleKey(0, 0)]
        distance = item.input.cameras.position.norm(dim=-1)
        torch.testing.assert_close(float(distance.mean()), 2.7, atol=1e-3, rtol=0)
        assert distance.max() - distance.min() > 0.2  # cameras keep their own distances
        stored = torch.stack([view.camera.position for view in read_sample(sample_dir).views])
        ratio = torch.pdist(item.input.cameras.position.double()) / torch.pdist(stored)
        torch.testing.assert_close(ratio, ratio[:1].expand_as(ratio), rtol=1e-5, atol=0)

    def test_z_up_is_found_from_cameras_that_hang_in_a_tilted_world(self, tmp_path):
        from helpers import random_rotation

        from gslrm.similarity import Similarity

        tilt = Similarity(torch.ones((), dtype=torch.float64), random_rotation(4), torch.zeros(3, dtype=torch.float64))
        center = tilt.apply(torch.tensor([BALL], dtype=torch.float64))[0]
        cameras = ring(6).transform(tilt)
        masks = [ball_coverage(cameras[index], center, 30.0).astype(np.float32) for index in range(6)]
        mouse = CROPS.model_copy(update={"normalize_to_z_up": True})
        placement = place_object(masks, [cameras[index] for index in range(6)], size=32, mouse=mouse)
        up = placement.world_from_source.rotation @ tilt.rotation[:, 2]
        torch.testing.assert_close(up, torch.tensor([0.0, 0, 1], dtype=torch.float64), atol=2e-2, rtol=0)

    def test_one_wrong_mask_does_not_move_the_centre_far(self):
        cameras = ring(6)
        masks = [
            ball_coverage(cameras[i], torch.tensor(BALL, dtype=torch.float64), 30.0).astype(np.float32)
            for i in range(6)
        ]
        masks[2] = np.zeros_like(masks[2])
        masks[2][2:6, 2:6] = 1
        placement = place_object(masks, [cameras[index] for index in range(6)], size=32, mouse=CROPS)
        assert (placement.center - torch.tensor(BALL)).norm() < 6  # of a ball of 30

    def test_masks_in_fewer_than_two_views_are_refused(self):
        cameras = ring(3)
        masks = [np.zeros((64, 64), np.float32)] * 3
        with pytest.raises(UserError, match="at least two input views"):
            place_object(masks, [cameras[index] for index in range(3)], size=32, mouse=CROPS)

    def test_inverted_camera_matrices_are_noticed(self):
        cameras = ring(4)
        masks = [
            ball_coverage(cameras[i], torch.tensor(BALL, dtype=torch.float64), 30.0).astype(np.float32)
            for i in range(4)
        ]
        from dataclasses import replace

        from gslrm.cameras import invert_rigid

        wrong = replace(cameras, world_from_camera=invert_rigid(cameras.world_from_camera))
        with pytest.raises(UserError, match="not show one object|not in front of camera"):
            place_object(masks, [wrong[index] for index in range(4)], size=32, mouse=CROPS)

    def test_premultiplied_resampling_leaves_no_halo(self, sample_dir):
        """Every crop colour is the ball's, the background's, or between them by exactly its coverage."""
        item = dataset_of(sample_dir, background_color="black")[SampleKey(0, 0)]
        ball = torch.tensor([90, 60, 40])[:, None, None] / 255
        torch.testing.assert_close(item.target.images, item.target.masks * ball, atol=4e-3, rtol=0)
