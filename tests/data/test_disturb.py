"""Disturbed inputs: wrong by as much as is asked for, the same for the same seed, and never the targets."""

import numpy as np
import pytest
import torch
from data_helpers import dataset_of
from model_helpers import ball_views

from gslrm.config import NoiseConfig
from gslrm.data.disturb import disturb
from gslrm.data.sampler import SampleKey, StreamSampler

WHITE = torch.ones(3)


@pytest.fixture(scope="module")
def ball():
    return ball_views(4, radius=0.3, size=64)


def disturbed(ball, seed: int = 0, **noise: float):
    return disturb(ball, WHITE, NoiseConfig(**noise), np.random.default_rng(seed))


@pytest.mark.parametrize("size", [0.5, 1.0, 2.0])
def test_outlines_move_by_as_many_pixels_as_asked_for_and_not_more(ball, size):
    rim = lambda views: (views.masks.sum(dim=(1, 2, 3)) / torch.pi).sqrt()  # noqa: E731
    moved = torch.stack([rim(disturbed(ball, seed, mask_pixels=size)) - rim(ball) for seed in range(12)])
    assert moved.abs().max() < 2 * size + 0.3
    assert size / 3 < moved.std() < size


def test_masks_stay_coverage_and_the_inside_keeps_its_colours(ball):
    views = disturbed(ball, mask_pixels=1.5)
    assert ((views.masks >= 0) & (views.masks <= 1)).all()
    inside = (torch.nn.functional.avg_pool2d(ball.masks, 9, 1, 4) > 0.999).expand_as(views.images)
    assert inside.any()
    torch.testing.assert_close(views.images[inside], ball.images[inside], atol=1e-5, rtol=0)
    paper = (views.masks == 0).expand_as(views.images)
    torch.testing.assert_close(views.images[paper], torch.ones_like(views.images[paper]))


def test_cameras_move_by_shares_of_their_distance_and_by_degrees_and_stay_rigid(ball):
    shifted, turned = disturbed(ball, camera_shift=0.01), disturbed(ball, camera_turn=0.5)
    away = (shifted.cameras.position - ball.cameras.position).norm(dim=1) / ball.cameras.position.norm(dim=1)
    assert 0.004 < away.mean() < 0.04
    torch.testing.assert_close(turned.cameras.position, ball.cameras.position)
    relative = turned.cameras.world_from_camera[:, :3, :3] @ ball.cameras.world_from_camera[:, :3, :3].mT
    angle = torch.rad2deg(torch.acos(((relative.diagonal(dim1=1, dim2=2).sum(1) - 1) / 2).clamp(-1, 1)))
    assert 0.2 < angle.mean() < 2
    turned.cameras.validate()


def test_errors_follow_from_the_seed_and_differ_between_epochs(sample_dir):
    noisy = {"noise": {"mask_pixels": 1.0, "camera_shift": 0.005}}
    first, second = dataset_of(sample_dir, **noisy), dataset_of(sample_dir, **noisy)
    a, b, c = first[SampleKey(0, 0)], second[SampleKey(0, 0)], first[SampleKey(1, 0)]
    assert torch.equal(a.input.masks, b.input.masks)
    assert torch.equal(a.input.cameras.world_from_camera, b.input.cameras.world_from_camera)
    assert not torch.equal(a.input.masks, c.input.masks)


def test_targets_stay_exact(sample_dir):
    exact, noisy = dataset_of(sample_dir), dataset_of(sample_dir, noise={"mask_pixels": 1.0, "camera_turn": 1.0})
    a, b = exact[SampleKey(0, 0)], noisy[SampleKey(0, 0)]
    assert torch.equal(a.target.masks, b.target.masks)
    assert torch.equal(a.target.cameras.world_from_camera, b.target.cameras.world_from_camera)
    assert not torch.equal(a.input.masks, b.input.masks)


class TestViewDropOut:
    def test_every_number_of_views_occurs_and_order_is_kept(self, sample_dir):
        dataset = dataset_of(sample_dir, num_input_views=6, min_input_views=3)
        drawn = [dataset[SampleKey(step, 0, step)].input_index.tolist() for step in range(24)]
        assert {len(views) for views in drawn} == {3, 4, 5, 6}
        assert all(views == sorted(set(views)) for views in drawn)
        assert {view for views in drawn for view in views} == set(range(6))

    def test_the_same_key_gives_the_same_views(self, sample_dir):
        first, second = (dataset_of(sample_dir, num_input_views=6, min_input_views=2) for _ in range(2))
        for step in range(5):
            key = SampleKey(step, 0, step)
            assert torch.equal(first[key].input_index, second[key].input_index)

    def test_all_samples_of_a_pass_have_equally_many_so_that_they_can_be_stacked(self, sample_dir):
        dataset = dataset_of(sample_dir, num_input_views=6, min_input_views=2)
        sampler = StreamSampler(5, batch_size=3, seed=3, start=0, stop=6)
        for keys in sampler:
            views = [dataset.drop_views(tuple(range(6)), key) for key in keys]
            assert len({len(chosen) for chosen in views}) == 1
        batch = dataset.collate([dataset[SampleKey(0, 0, 4)], dataset[SampleKey(1, 0, 4)]])
        assert len(batch.names) == 2

    def test_without_it_nothing_changes(self, sample_dir):
        assert dataset_of(sample_dir)[SampleKey(0, 0, 7)].input_index.tolist() == [0, 1, 2, 3]
