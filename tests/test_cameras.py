"""Laws of the camera conventions, in float64."""

import numpy as np
import pytest
import torch
from helpers import FIXTURES, random_cameras, random_rotation

from gslrm.cameras import Cameras, nearest_to_origin, shortest_turn
from gslrm.similarity import Similarity


def test_projecting_points_along_rays_returns_the_pixel_grid():
    cameras = random_cameras(5)
    origin, direction = cameras.rays()
    distance = 1 + torch.rand(direction.shape[:-1], dtype=torch.float64)
    pixel, depth = cameras.project((origin + distance[..., None] * direction).flatten(1, 2))
    torch.testing.assert_close(pixel, cameras.pixel_grid().flatten(0, 1).expand_as(pixel), atol=1e-9, rtol=0)
    assert (depth > 0).all()


def test_rays_of_the_published_model():
    z = np.load(FIXTURES / "facelift/rays_plucker.npz")
    height, width = z["hw"].tolist()
    intrinsics = torch.from_numpy(z["fxfycxcy"])
    cameras = Cameras(torch.from_numpy(z["c2w"]), intrinsics[..., :2], intrinsics[..., 2:], height, width)
    origin, direction = (x.permute(0, 1, 4, 2, 3).numpy() for x in cameras.rays())
    np.testing.assert_array_equal(origin, z["ray_o"])
    np.testing.assert_allclose(direction, z["ray_d"], atol=2e-6, rtol=1e-6)


def test_ray_directions_have_unit_length_and_start_at_the_camera():
    cameras = random_cameras(3)
    origin, direction = cameras.rays()
    torch.testing.assert_close(direction.norm(dim=-1), torch.ones_like(direction[..., 0]))
    torch.testing.assert_close(origin[:, 0, 0], cameras.position)


def test_the_point_nearest_the_origin_is_perpendicular_to_its_ray():
    origin, direction = random_cameras(3).rays()
    _, nearest = nearest_to_origin(origin, direction)
    assert (nearest * direction).sum(-1).abs().max() < 1e-12


def test_looking_at_a_point_puts_it_in_the_middle_with_up_above():
    position = torch.randn(6, 3, dtype=torch.float64) * 3
    target = torch.randn(6, 3, dtype=torch.float64) * 0.1
    ones = torch.ones(6, 2, dtype=torch.float64)
    up = torch.tensor([0.0, 0.0, 1.0], dtype=torch.float64)
    cameras = Cameras.look_at(position, target, up, focal=100 * ones, center=32 * ones, height=64, width=64)
    cameras.validate()
    pixel, _ = cameras.project(torch.stack([target, target + 0.01 * up], dim=1))
    torch.testing.assert_close(pixel[:, 0], 32 * ones)
    torch.testing.assert_close(pixel[:, 1, 0], 32 * ones[:, 0])
    assert (pixel[:, 1, 1] < 32).all()  # y points down, so up is a smaller row


def test_looking_along_up_is_refused():
    one = torch.ones(1, 2)
    with pytest.raises(ValueError, match="up direction"):
        Cameras.look_at(
            torch.tensor([[0.0, 0, 5]]), torch.zeros(1, 3), torch.tensor([0.0, 0, 1]),
            focal=one, center=one, height=8, width=8,
        )  # fmt: skip


def test_the_turntable_of_the_published_model():
    z = np.load(FIXTURES / "facelift/gaussians_cameras.npz")
    cameras = Cameras.orbit(150, radius=2.7, elevation=0.0, dtype=torch.float64)
    np.testing.assert_allclose(cameras.world_from_camera.numpy(), z["turntable_elev0_150_c2w"], atol=1e-12)
    np.testing.assert_allclose(cameras.focal.numpy(), z["turntable_elev0_150_fxfycxcy"][:, :2])


def test_orbit_keeps_radius_and_equal_steps():
    cameras = Cameras.orbit(8, radius=3.0, elevation=30.0, dtype=torch.float64)
    torch.testing.assert_close(cameras.position.norm(dim=-1), torch.full((8,), 3.0, dtype=torch.float64))
    step = (cameras.position - cameras.position.roll(1, 0)).norm(dim=-1)
    torch.testing.assert_close(step, step[:1].expand(8))


def test_a_similarity_of_the_world_changes_no_picture():
    cameras, points = random_cameras(4), torch.randn(4, 10, 3, dtype=torch.float64) * 0.2
    similarity = Similarity(
        torch.tensor(0.37, dtype=torch.float64), random_rotation(3), torch.tensor([5.0, -2, 9], dtype=torch.float64)
    )
    before, depth_before = cameras.project(points)
    after, depth_after = cameras.transform(similarity).project(similarity.apply(points))
    torch.testing.assert_close(after, before)
    torch.testing.assert_close(depth_after, 0.37 * depth_before)


def test_a_similarity_undone_is_the_identity():
    similarity = Similarity(
        torch.tensor(2.5, dtype=torch.float64), random_rotation(1), torch.randn(3, dtype=torch.float64)
    )
    both = similarity.inverse().compose(similarity)
    torch.testing.assert_close(both.matrix(), torch.eye(4, dtype=torch.float64))
    points = torch.randn(7, 3, dtype=torch.float64)
    torch.testing.assert_close(
        similarity.apply(points), points @ similarity.matrix()[:3, :3].mT + similarity.translation
    )


def test_opengl_cameras_see_what_opencv_cameras_see():
    cameras = random_cameras(2)
    opengl = cameras.world_from_camera @ torch.diag(torch.tensor([1.0, -1, -1, 1], dtype=torch.float64))
    same = Cameras.from_opengl(opengl, cameras.focal, cameras.center, height=cameras.height, width=cameras.width)
    torch.testing.assert_close(same.world_from_camera, cameras.world_from_camera)


def test_w2c_lists_round_trip():
    cameras = random_cameras(3)
    again = Cameras.from_w2c(
        cameras.camera_from_world.tolist(), cameras.focal.tolist(), cameras.center.tolist(),
        height=cameras.height, width=cameras.width,
    )  # fmt: skip
    torch.testing.assert_close(again.world_from_camera, cameras.world_from_camera)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda w2c: w2c * torch.tensor([2.0, 2, 2, 1])[:, None], "not a rotation"),
        (lambda w2c: w2c * torch.tensor([-1.0, 1, 1, 1])[:, None], "reflection"),
        (lambda w2c: w2c.mT, "last row"),
        (lambda w2c: w2c * float("nan"), "not a rotation"),
    ],
)
def test_impossible_cameras_are_refused(spoil, message):
    cameras = random_cameras(1)
    with pytest.raises(ValueError, match=message):
        Cameras.from_w2c(
            spoil(cameras.camera_from_world[0])[None].tolist(), [[100.0, 100.0]], [[8.0, 8.0]], height=16, width=16
        )


def test_a_focal_length_of_zero_is_refused():
    with pytest.raises(ValueError, match="focal length must be positive"):
        Cameras.from_w2c([torch.eye(4).tolist()], [[0.0, 100.0]], [[8.0, 8.0]], height=16, width=16)


def test_the_shortest_turn_takes_one_vector_to_the_other():
    start, end = torch.nn.functional.normalize(torch.randn(2, 3, dtype=torch.float64), dim=-1)
    turn = shortest_turn(start, end)
    torch.testing.assert_close(turn @ start, end)
    torch.testing.assert_close(turn @ turn.mT, torch.eye(3, dtype=torch.float64))
    axis = torch.linalg.cross(start, end)
    torch.testing.assert_close(turn @ axis, axis)  # nothing turns about any other axis
    torch.testing.assert_close(shortest_turn(start, -start) @ start, -start)
