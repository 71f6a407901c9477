"""LGM's augmentations: as recorded from its code but for the dark borders, never the first view, never the targets."""

from pathlib import Path

import numpy as np
import pytest
import torch
from data_helpers import dataset_of
from model_helpers import ball_views

from gslrm.cameras import Cameras
from gslrm.config import AugmentConfig
from gslrm.data.augment import augment, distort, distortion_grid, jitter
from gslrm.data.sampler import SampleKey
from gslrm.types import Views

FIXTURES = Path(__file__).parents[3] / "shared" / "fixtures" / "lgm"
recorded = pytest.mark.skipif(not FIXTURES.is_dir(), reason="LGM's recorded cases are not on this machine")
ALWAYS = {"grid_distortion": 1.0, "camera_jitter": 1.0}


@pytest.fixture(scope="module")
def ball():
    return ball_views(4, radius=0.3, size=48)


def draws(count: int, knots: int, seed: int = 0) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(seed).random((count, 2, knots)))


class TestDistortion:
    def test_pictures_on_white_keep_a_white_border(self, ball):
        """The original reads black beyond the picture: its outermost pixels are half dark."""
        paper = torch.ones_like(ball.images)
        views = distort(Views(paper, ball.masks, ball.cameras), draws(3, 9), strength=0.5)
        torch.testing.assert_close(views.images, paper)

    def test_the_first_view_and_all_cameras_stay(self, ball):
        views = distort(ball, draws(3, 9), strength=0.5)
        assert torch.equal(views.images[0], ball.images[0])
        assert all(not torch.equal(views.images[view], ball.images[view]) for view in (1, 2, 3))
        assert views.cameras is ball.cameras

    def test_masks_are_pulled_with_their_pictures(self, ball):
        views = distort(ball, draws(3, 9), strength=0.5)
        flat = views.masks * 0.3 + 1 - views.masks  # of one colour, on white
        torch.testing.assert_close(views.images, flat.expand_as(views.images), atol=1e-5, rtol=0)

    def test_without_strength_no_pixel_moves_by_more_than_one(self):
        grid = distortion_grid(draws(2, 9), height=40, width=56, strength=0.0)
        pixel = (grid + 1) / 2 * torch.tensor([56, 40])
        still = torch.stack(torch.meshgrid(torch.arange(40), torch.arange(56), indexing="ij")[::-1], dim=-1) + 0.5
        assert (pixel - still).abs().max() < 1.1

    @pytest.mark.parametrize("knots", [8, 16])
    def test_knots_move_by_at_most_a_quarter_of_their_distance(self, knots):
        grid = distortion_grid(draws(8, knots), height=64, width=64, strength=0.5)
        still = (torch.arange(64) + 0.5) / 32 - 1
        allowed = 2 * 0.25 / (knots - 1) + 3 / 32  # whole pixels, both ends included
        assert ((grid[:, 0, :, 0] - still).abs() <= allowed).all()
        assert (grid[:, 0].diff(dim=1)[..., 0] >= 0).all()

    @recorded
    @pytest.mark.parametrize("case", [0, 1, 2])
    def test_the_grid_is_the_recorded_one(self, case):
        truth = np.load(FIXTURES / "augment.npz")
        strength = float(truth["gd/strength"][case])
        grid = distortion_grid(torch.from_numpy(truth[f"gd{case}/uniforms"]), height=40, width=56, strength=strength)
        torch.testing.assert_close(grid.float(), torch.from_numpy(truth[f"gd{case}/grid"]), atol=1e-6, rtol=0)

    @recorded
    @pytest.mark.parametrize("case", [0, 1, 2])
    def test_pictures_are_the_recorded_ones_inside_their_borders(self, case):
        truth = {name: torch.from_numpy(array) for name, array in np.load(FIXTURES / "augment.npz").items()}
        images = truth["gd/images"]
        ones = torch.ones(4, 2)
        cameras = Cameras(torch.eye(4).expand(4, 4, 4), ones, ones, 40, 56)
        views = Views(torch.cat([images[:1], images]), torch.ones(4, 1, 40, 56), cameras)
        ours = distort(views, truth[f"gd{case}/uniforms"], strength=float(truth["gd/strength"][case])).images[1:]
        edge = truth[f"gd{case}/grid"].abs()
        inside = ((edge[..., 0] <= 1 - 1 / 56) & (edge[..., 1] <= 1 - 1 / 40))[:, None].expand_as(ours)
        theirs = truth[f"gd{case}/out"]
        assert inside.float().mean() > 0.8
        torch.testing.assert_close(ours[inside], theirs[inside], atol=1e-5, rtol=0)
        assert (ours >= theirs - 1e-5).all()


class TestJitter:
    def test_cameras_stay_rigid_on_their_orbit_about_the_origin_and_the_first_stays(self, ball):
        moved = jitter(ball.cameras, 2 * draws(3, 1)[..., 0] - 1, strength=0.1)
        moved.validate()
        assert torch.equal(moved.world_from_camera[0], ball.cameras.world_from_camera[0])
        torch.testing.assert_close(moved.position.norm(dim=1), ball.cameras.position.norm(dim=1))
        origin = torch.zeros(4, 1, 3)
        torch.testing.assert_close(moved.project(origin)[0], ball.cameras.project(origin)[0], atol=1e-3, rtol=0)

    def test_turns_reach_18_degrees_about_the_vertical_and_9_about_the_horizontal_axis(self, ball):
        for angles, expected in (((1.0, 0.0), 18.0), ((0.0, 1.0), 9.0)):
            moved = jitter(ball.cameras, torch.tensor([angles] * 3), strength=0.1)
            turn = moved.world_from_camera[1:, :3, :3] @ ball.cameras.world_from_camera[1:, :3, :3].mT
            cosine = (turn.diagonal(dim1=1, dim2=2).sum(1) - 1) / 2
            torch.testing.assert_close(torch.rad2deg(torch.acos(cosine)), torch.full((3,), expected), atol=1e-2, rtol=0)

    @recorded
    def test_poses_are_the_recorded_ones(self):
        truth = {name: torch.from_numpy(array).double() for name, array in np.load(FIXTURES / "augment.npz").items()}
        poses = torch.cat([torch.eye(4, dtype=torch.float64)[None], truth["jit/poses"]])
        ones = torch.ones(7, 2, dtype=torch.float64)
        cameras = Cameras.from_opengl(poses, ones, ones, height=1, width=1)
        angles = 2 * truth["jit/uniforms"][..., 0].T - 1
        moved = jitter(cameras, angles, strength=float(truth["jit/strength"]))
        expected = Cameras.from_opengl(truth["jit/out"], ones[1:], ones[1:], height=1, width=1)
        torch.testing.assert_close(moved.world_from_camera[1:], expected.world_from_camera, atol=1e-6, rtol=0)


class TestInTraining:
    def test_only_input_views_but_the_first_are_augmented_and_targets_stay_exact(self, sample_dir):
        exact, other = dataset_of(sample_dir), dataset_of(sample_dir, augment=ALWAYS)
        a, b = exact[SampleKey(0, 0)], other[SampleKey(0, 0)]
        assert torch.equal(a.target.images, b.target.images)
        assert torch.equal(a.target.cameras.world_from_camera, b.target.cameras.world_from_camera)
        for tensors in ((a.input.images, b.input.images), (a.input.cameras.position, b.input.cameras.position)):
            same = [torch.equal(one, two) for one, two in zip(*tensors, strict=True)]
            assert same == [True, False, False, False]

    def test_draws_follow_from_the_seed_and_differ_between_epochs(self, sample_dir):
        first, second = (dataset_of(sample_dir, augment=ALWAYS) for _ in range(2))
        a, b, c = first[SampleKey(0, 0)], second[SampleKey(0, 0)], first[SampleKey(1, 0)]
        assert torch.equal(a.input.images, b.input.images)
        assert not torch.equal(a.input.images[1], c.input.images[1])

    def test_each_augmentation_comes_as_often_as_asked_for_by_itself(self, ball):
        config = AugmentConfig(grid_distortion=0.5, camera_jitter=0.5)
        drawn = [augment(ball, config, np.random.default_rng(seed)) for seed in range(80)]
        pulled = torch.tensor([not torch.equal(views.images, ball.images) for views in drawn])
        moved = torch.tensor([views.cameras is not ball.cameras for views in drawn])
        assert 25 < pulled.sum() < 55 and 25 < moved.sum() < 55
        assert 8 < (pulled & moved).sum() < 32

    def test_a_view_alone_stays(self, ball):
        alone = ball[:1]
        assert augment(alone, AugmentConfig(**ALWAYS), np.random.default_rng(0)) is alone

    def test_it_is_off_by_default(self):
        assert not AugmentConfig().any
