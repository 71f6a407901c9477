import numpy as np
import pytest
import torch

from gslrm.cameras import Cameras
from gslrm.data.synthetic_raster import Mesh, photograph
from gslrm.data.synthetic_scene import sample_scene
from gslrm.data.transforms import turn_to
from gslrm.tensor_struct import stack

RADIUS = 20.0
CENTER = np.array([3.0, -2.0, 1.0])


def sphere(level: int = 5) -> Mesh:
    """An octahedron split `level` times, pushed out to a sphere; its corners are coloured by their direction."""
    corners = np.array([[1, 0, 0], [0, 1, 0], [-1, 0, 0], [0, -1, 0], [0, 0, 1], [0, 0, -1]], float)
    faces = [(0, 1, 4), (1, 2, 4), (2, 3, 4), (3, 0, 4), (1, 0, 5), (2, 1, 5), (3, 2, 5), (0, 3, 5)]
    soup = corners[np.array(faces)]
    for _ in range(level):
        a, b, c = soup[:, 0], soup[:, 1], soup[:, 2]
        ab, bc, ca = a + b, b + c, c + a
        soup = np.concatenate([np.stack(part, 1) for part in ((a, ab, ca), (ab, b, bc), (ca, bc, c), (ab, bc, ca))])
        soup /= np.linalg.norm(soup, axis=2, keepdims=True)
    flat = soup.reshape(-1, 3)
    count = np.arange(len(flat), dtype=np.int32).reshape(-1, 3)
    return Mesh.plain(CENTER + RADIUS * flat, count, 0.5 + 0.4 * flat)


def cameras(size: int = 96) -> Cameras:
    positions = torch.tensor([[300.0, 0, 40], [-150.0, 260, 90], [20.0, -310, -30]]).double()
    return Cameras.look_at(
        positions,
        torch.tensor([[0.0, 0, 0], [5, 2, 0], [-3, 1, 2]]).double(),
        torch.tensor([0.0, 0, 1]).double(),
        focal=torch.tensor([[500.0, 560.0], [480.0, 520.0], [530.0, 500.0]]).double(),
        center=torch.tensor([[50.0, 45.0], [44.0, 52.0], [48.3, 47.1]]).double(),
        height=size,
        width=size,
    )


def analytic(view: Cameras, samples: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Coverage of a sphere by many rays per pixel, z-depth and direction from its centre at pixel centres."""
    fine = Cameras(
        view.world_from_camera, view.focal * samples, view.center * samples, view.height * samples, view.width * samples
    )
    hits, depth, normal = [], None, None
    for camera in (fine, view):
        origin, direction = (rays.numpy() for rays in camera.rays())
        offset = CENTER - origin
        along = (offset * direction).sum(-1)
        hidden = RADIUS**2 - (offset**2).sum(-1) + along**2
        reach = along - np.sqrt(np.maximum(hidden, 0))
        axis = camera.world_from_camera[:3, 2].numpy()
        point = origin + reach[..., None] * direction
        depth = np.where(hidden > 0, ((point - origin) * axis).sum(-1), 0)
        normal = (point - CENTER) / RADIUS
        hits.append(hidden > 0)
    coverage = hits[0].reshape(view.height, samples, view.width, samples).mean(axis=(1, 3))
    return coverage, depth, normal


class TestSphere:
    @pytest.fixture(scope="class")
    @staticmethod
    def pictures():
        return photograph(sphere(), cameras())

    @pytest.mark.parametrize("view", range(3))
    def test_coverage_depth_and_colour_are_those_of_a_sphere(self, pictures, view):
        coverage, depth, normal = analytic(cameras()[view], 12)
        assert np.abs(pictures.coverage[view] - coverage).max() < 0.2  # nine places stand for a pixel
        assert abs(pictures.coverage[view].sum() / coverage.sum() - 1) < 2e-3
        inner = coverage == 1
        np.testing.assert_allclose(pictures.depth[view][inner], depth[inner], atol=0.35)
        assert np.abs(pictures.depth[view][inner] - depth[inner]).mean() < 0.02
        np.testing.assert_allclose(pictures.colour[view][inner], 0.5 + 0.4 * normal[inner], atol=0.02)

    @pytest.mark.parametrize("view", range(3))
    def test_silhouettes_have_no_bias(self, pictures, view):
        """Half a pixel of shift would move the middle of the silhouette by half a pixel."""
        coverage, _, _ = analytic(cameras()[view], 12)
        middle = [np.array(np.nonzero(c > 0)) @ c[c > 0] / c.sum() for c in (pictures.coverage[view], coverage)]
        np.testing.assert_allclose(middle[0], middle[1], atol=0.03)

    def test_depth_is_there_exactly_where_more_than_half_of_a_pixel_is_covered(self, pictures):
        np.testing.assert_array_equal(pictures.depth > 0, pictures.coverage > 0.5)

    def test_nothing_is_brighter_than_its_coverage(self, pictures):
        assert (pictures.colour <= pictures.coverage[..., None] + 1e-6).all()

    def test_backs_are_not_drawn(self):
        mesh = sphere()
        inside_out = Mesh.plain(mesh.vertices, mesh.faces[:, ::-1].copy(), mesh.colours)
        near, far = photograph(mesh, cameras()), photograph(inside_out, cameras())
        both = (near.depth > 0) & (far.depth > 0)
        assert (far.depth[both] >= near.depth[both] - 1e-3).all() and (far.depth - near.depth)[both].max() > RADIUS

    def test_what_is_behind_a_camera_is_not_drawn(self):
        turned = cameras()
        pose = turned.world_from_camera.clone()
        pose[:, :3, 0] *= -1
        pose[:, :3, 2] *= -1
        away = Cameras(pose, turned.focal, turned.center, turned.height, turned.width)
        assert photograph(sphere(3), away).coverage.max() == 0

    def test_a_mesh_may_reach_out_of_the_picture(self):
        moved = Cameras(
            cameras().world_from_camera, cameras().focal, cameras().center - torch.tensor([45.0, 0.0]), 96, 96
        )
        whole, cut = photograph(sphere(), cameras()), photograph(sphere(), moved)
        np.testing.assert_array_equal(cut.coverage[:, :, :51], whole.coverage[:, :, 45:])


class TestMouse:
    @pytest.fixture(scope="class")
    @staticmethod
    def scene():
        mesh, cameras, _ = sample_scene(np.random.default_rng(4), size=160, extra_views=6, held_out=True)
        return mesh, cameras, photograph(mesh, cameras)

    def test_a_point_seen_in_one_view_lies_on_or_behind_what_another_sees(self, scene):
        _, cameras, pictures = scene
        for first, second in ((0, 1), (2, 7), (5, 11), (9, 3)):
            points = backproject(cameras[first], pictures.depth[first])
            pixel, depth = cameras[second].project(torch.from_numpy(points))
            column, row = pixel.numpy().astype(int).T
            there = pictures.depth[second][row, column]
            seen = there > 0
            assert seen.mean() > 0.85  # edges of less than half a pixel apart
            gap = depth.numpy()[seen] - there[seen]
            assert (gap < -4).mean() < 0.04  # never in front, but for thin parts that cover less than half of a pixel
            visible = np.abs(gap) < 1.5
            assert visible.mean() > 0.1
            assert abs(np.median(gap[visible])) < 0.4

    def test_crops_of_the_same_camera_show_the_same_surface(self, scene):
        mesh, cameras, pictures = scene
        middle = torch.from_numpy(mesh.vertices.mean(axis=0))
        crop = turn_to(cameras[0], middle, focal=700.0, size=200)
        shown = photograph(mesh, stack([crop]))
        points = backproject(crop, shown.depth[0])
        pixel, depth = cameras[0].project(torch.from_numpy(points))
        column, row = pixel.numpy().astype(int).T
        there = pictures.depth[0][row, column]
        gap = (depth.numpy() - there)[there > 0]
        assert (there > 0).mean() > 0.95 and np.median(np.abs(gap)) < 0.5

    def test_the_grain_changes_colours_only(self, scene):
        mesh, cameras, pictures = scene
        other = photograph(mesh, cameras, grain_seed=1)
        np.testing.assert_array_equal(other.coverage, pictures.coverage)
        np.testing.assert_array_equal(other.depth, pictures.depth)
        changed = np.abs(other.colour - pictures.colour)
        assert 0 < changed.mean() < 0.05


def backproject(camera: Cameras, depth: np.ndarray) -> np.ndarray:
    """World points at the centres of the pixels that have depth."""
    row, column = np.nonzero(depth)
    pixel = np.stack([column + 0.5, row + 0.5], axis=-1)
    z = depth[row, column].astype(float)
    flat = (pixel - camera.center.numpy()) / camera.focal.numpy() * z[:, None]
    pose = camera.world_from_camera.numpy()
    return np.column_stack([flat, z]) @ pose[:3, :3].T + pose[:3, 3]
