"""LGM's input: rays of any cameras in the frame of the first view, as LGM's own code makes them."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers import random_cameras, random_rotation
from model_helpers import random_views

from gslrm.cameras import Cameras
from gslrm.model.lgm_input import IMAGENET_MEAN, IMAGENET_STD, canonical_frame, canonical_input, in_frame, ray_maps
from gslrm.similarity import Similarity
from gslrm.types import Views

FIXTURES = Path(__file__).parents[3] / "shared" / "fixtures" / "lgm"
recorded = pytest.mark.skipif(not FIXTURES.is_dir(), reason="LGM's recorded cases are not on this machine")
TAN_HALF = 0.45678058  # of 49.1 degrees


def square_cameras(poses: torch.Tensor, size: int) -> Cameras:
    """OpenGL poses [..., 4, 4] with LGM's field of view."""
    ones = poses.new_ones(*poses.shape[:-2], 2)
    return Cameras.from_opengl(poses, 0.5 * size / TAN_HALF * ones, size / 2 * ones, height=size, width=size)


def orbit(azimuth: list[float], *, elevation: float = 0.0, radius: float = 1.5) -> torch.Tensor:
    """OpenGL poses that look at the origin, y up; a negative elevation is above, as in LGM's package."""
    poses = []
    for angle in torch.deg2rad(torch.tensor(azimuth, dtype=torch.float64)):
        tilt = torch.deg2rad(torch.tensor(elevation, dtype=torch.float64))
        back = torch.stack([tilt.cos() * angle.sin(), -tilt.sin(), tilt.cos() * angle.cos()])
        right = torch.stack([angle.cos(), torch.zeros_like(angle), -angle.sin()])
        pose = torch.eye(4, dtype=torch.float64)
        pose[:3] = torch.stack([right, torch.linalg.cross(back, right), back, radius * back], dim=1)
        poses.append(pose)
    return torch.stack(poses)


class TestFrame:
    def test_the_first_view_comes_to_the_z_axis_with_opengl_axes_along_the_worlds(self):
        cameras = random_cameras(5)[None]
        placed = in_frame(cameras, canonical_frame(cameras))
        expected = torch.diag(torch.tensor([1.0, -1.0, -1.0, 1.0], dtype=torch.float64))
        expected[2, 3] = 1.5
        torch.testing.assert_close(placed.world_from_camera[0, 0], expected)

    def test_what_the_first_view_looks_at_comes_to_the_origin(self):
        cameras = square_cameras(orbit([20.0, 130.0], elevation=-30, radius=3.3), 8)[None]
        origin = canonical_frame(cameras)[0].apply(torch.zeros(1, 3, dtype=torch.float64))
        assert origin.norm() < 1e-12

    def test_one_similarity_keeps_all_pixels_of_all_views(self):
        """No camera is moved by itself: points are seen where they were seen before."""
        cameras = random_cameras(6)[None]
        canonical_from_world = canonical_frame(cameras)
        points = torch.randn(1, 6, 20, 3, dtype=torch.float64) * 0.3
        moved = canonical_from_world[0].apply(points)
        before, after = cameras.project(points)[0], in_frame(cameras, canonical_from_world).project(moved)[0]
        torch.testing.assert_close(after, before)

    def test_the_world_that_a_sample_is_given_in_does_not_matter(self):
        views = random_views(4)
        turned = Similarity(
            torch.tensor(0.37, dtype=torch.float64), random_rotation(4), torch.zeros(3, dtype=torch.float64)
        )
        elsewhere = replace(views, cameras=in_frame(views.cameras, turned.map(lambda tensor: tensor[None])).float())
        torch.testing.assert_close(canonical_input(elsewhere)[0], canonical_input(views)[0], atol=3e-6, rtol=0)

    def test_each_sample_of_a_batch_has_a_frame_of_its_own(self):
        both = random_views(3, batch=2)
        maps, frames = canonical_input(both)
        for sample in range(2):
            own, frame = canonical_input(both[sample : sample + 1])
            assert torch.equal(own[0], maps[sample])
            assert torch.equal(frame.scale[0], frames.scale[sample])
        assert not torch.equal(maps[0], maps[1])


class TestChannels:
    def test_a_published_corner_pixel(self):
        cameras = square_cameras(orbit([0.0, 90.0, 180.0, 270.0]), 256)
        corner = ray_maps(cameras)[0, :, 0, 0].tolist()
        assert corner == pytest.approx([-0.57394, -0.57394, 0.0, -0.38263, 0.38263, -0.84095], abs=5e-6)

    def test_rays_meet_the_points_that_their_pixels_show_whatever_the_intrinsics(self):
        cameras = random_cameras(3, size=(6, 10))
        maps = ray_maps(cameras)
        points = torch.randn(3, 40, 3, dtype=torch.float64) * 0.2
        pixels = cameras.project(points)[0]
        for camera, pixel, point in zip(range(3), pixels, points, strict=True):
            at = replace(cameras[camera], center=cameras.center[camera] - pixel[0] + 0.5, height=1, width=1)
            moment, direction = ray_maps(at)[:, 0, 0].split(3)
            torch.testing.assert_close(torch.linalg.cross(point[0], direction, dim=0), moment)
        assert maps.shape == (3, 6, 6, 10)
        torch.testing.assert_close(maps[:, 3:].norm(dim=1), torch.ones(3, 6, 10, dtype=torch.float64))

    def test_colours_come_first_normalised_so_that_white_is_large(self):
        views = random_views(2)
        white = replace(views, images=torch.ones_like(views.images))
        maps = canonical_input(white)[0]
        expected = (1 - torch.tensor(IMAGENET_MEAN)) / torch.tensor(IMAGENET_STD)
        torch.testing.assert_close(maps[:, :, :3], expected[:, None, None].expand_as(maps[:, :, :3]))
        assert expected.tolist() == pytest.approx([2.2489, 2.4286, 2.6400], abs=1e-4)
        assert maps.dtype == torch.float32

    def test_every_view_has_rays_of_its_own(self):
        maps = canonical_input(random_views(6))[0][0, :, 3:]
        for first in range(6):
            for second in range(first):
                assert (maps[first] - maps[second]).abs().amax(dim=(1, 2)).amax() > 0.05


@recorded
class TestRecorded:
    @pytest.mark.parametrize("elevation", [0, -20, 30])
    def test_rays_of_the_default_cameras(self, elevation):
        truth = np.load(FIXTURES / "rays.npz")[f"default_rays_16px_elev{elevation}"]
        maps = ray_maps(square_cameras(orbit([0.0, 90.0, 180.0, 270.0], elevation=float(elevation)), 16))
        torch.testing.assert_close(maps.float(), torch.from_numpy(truth), atol=1e-6, rtol=0)

    def test_rays_of_random_cameras(self):
        truth = {name: torch.from_numpy(array) for name, array in np.load(FIXTURES / "rays.npz").items()}
        poses = truth["random_poses"].double()
        focal = 0.5 * 12 / TAN_HALF * torch.ones(3, 2, dtype=torch.float64)
        center = torch.tensor([10.0, 6.0], dtype=torch.float64).expand(3, 2)
        for opengl, cameras in (
            (1, Cameras.from_opengl(poses, focal, center, height=12, width=20)),
            (0, Cameras(poses, focal, center, 12, 20)),
        ):
            origin, direction = cameras.rays()
            atol = {"atol": 1e-6, "rtol": 0}
            torch.testing.assert_close(origin.float(), truth[f"rays_o_h12_w20_opengl{opengl}"], **atol)
            torch.testing.assert_close(direction.float(), truth[f"rays_d_h12_w20_opengl{opengl}"], **atol)
        maps = ray_maps(square_cameras(poses, 16))
        torch.testing.assert_close(maps.float(), truth["plucker_h16_w16"], atol=2e-6, rtol=0)

    @pytest.mark.parametrize("run", ["val", "train_noaug"])
    def test_the_whole_input_of_the_original_provider(self, run):
        truth = {name: torch.from_numpy(array) for name, array in np.load(FIXTURES / "provider.npz").items()}
        rgba = truth[f"{run}/images_bgra_uint8"][:4, :, :, [2, 1, 0, 3]].permute(0, 3, 1, 2) / 255
        on_white = rgba[:, :3] * rgba[:, 3:] + 1 - rgba[:, 3:]
        images = torch.nn.functional.interpolate(on_white, (16, 16), mode="bilinear", align_corners=False)
        poses = truth[f"{run}/c2w_raw"][:4].double()
        ones = torch.ones(4, 2, dtype=torch.float64)
        cameras = Cameras(poses, 8 / TAN_HALF * ones, 8 * ones, 16, 16)
        views = Views(images, images[:, :1], cameras)[None]
        maps, _ = canonical_input(views, radius=float(truth[f"{run}/cam_radius"]))
        torch.testing.assert_close(maps[0], truth[f"{run}/input"], atol=2e-6, rtol=0)
