"""A ball of Gaussians becomes a ball of triangles: its size, its colours, its outside outside."""

import json
import math
import struct
from dataclasses import replace

import numpy as np
import pytest
import torch
from export_helpers import mouse_like

from gslrm import harmonics as sh
from gslrm.errors import UserError
from gslrm.look_around import cameras_around
from gslrm.mesh import Mesh, extract_mesh, write_glb
from gslrm.mesh.front_depth import render_front
from gslrm.mesh.surface import closed_field
from gslrm.render import build_rasterizer
from gslrm.tensor_struct import concatenate
from gslrm.types import Gaussians

pytest.importorskip("skimage", reason="pip install scikit-image")
RASTERIZER = build_rasterizer("cpu", device="cpu")
CENTER, RADIUS = np.array([1.0, -2.0, 3.0]), 2.0
RED, BLUE = (0.9, 0.1, 0.1), (0.05, 0.2, 0.8)


def ball(count: int = 5000, opacity: float = 0.95) -> Gaussians:
    """Equal round Gaussians on a sphere, red where x is greater, blue where it is less."""
    number = torch.arange(count, dtype=torch.float64)
    height = 1 - (2 * number + 1) / count
    turn = math.pi * (3 - math.sqrt(5)) * number
    across = (1 - height.square()).sqrt()
    direction = torch.stack([across * turn.cos(), across * turn.sin(), height], dim=-1)
    colour = torch.where(direction[:, :1] > 0, torch.tensor([RED]), torch.tensor([BLUE])).double()
    return Gaussians(
        means=torch.from_numpy(CENTER) + RADIUS * direction,
        scales=torch.full((count, 3), 0.5 * RADIUS * math.sqrt(4 * math.pi / count), dtype=torch.float64),
        rotations=torch.tensor([[1.0, 0, 0, 0]], dtype=torch.float64).repeat(count, 1),
        opacities=torch.full((count,), opacity, dtype=torch.float64),
        harmonics=sh.degree_0_from_rgb(colour)[:, None],
    ).float()


@pytest.fixture(scope="module")
def mesh() -> Mesh:
    return extract_mesh(ball(), RASTERIZER, resolution=72)


def corners(mesh: Mesh) -> np.ndarray:
    return mesh.vertices[mesh.faces]


def volume(mesh: Mesh) -> float:
    a, b, c = corners(mesh).swapaxes(0, 1)
    return float((np.cross(a, b) * c).sum() / 6)


def open_edges(mesh: Mesh) -> int:
    edges = np.concatenate([mesh.faces[:, [i, (i + 1) % 3]] for i in range(3)])
    forward, backward = (edges[:, 0] * 10**7 + edges[:, 1]), (edges[:, 1] * 10**7 + edges[:, 0])
    return int((~np.isin(forward, backward)).sum())


def test_the_radius_of_a_ball_is_right_within_2_percent(mesh):
    radius = np.linalg.norm(mesh.vertices - CENTER, axis=1)
    assert abs(radius.mean() / RADIUS - 1) < 0.02
    assert np.abs(radius / radius.mean() - 1).max() < 0.02


def test_the_surface_is_closed_and_turned_outward(mesh):
    assert open_edges(mesh) == 0
    assert 0.95 < volume(mesh) / (4 / 3 * math.pi * RADIUS**3) < 1.06
    a, b, c = corners(mesh).swapaxes(0, 1)
    outward = (np.cross(b - a, c - a) * ((a + b + c) / 3 - CENTER)).sum(axis=1)
    assert (outward > 0).mean() > 0.99


def test_vertices_have_the_colour_of_their_side(mesh):
    x = mesh.vertices[:, 0] - CENTER[0]
    np.testing.assert_allclose(mesh.colours[x > 0.3].mean(axis=0), RED, atol=0.05)
    np.testing.assert_allclose(mesh.colours[x < -0.3].mean(axis=0), BLUE, atol=0.05)


def test_floaters_and_what_is_hidden_inside_leave_no_surface():
    inner, center = ball(500), torch.from_numpy(CENTER).float()
    inner = replace(inner, means=center + 0.4 * (inner.means - center))
    floater = replace(mouse_like(3), means=torch.tensor([[3.4, -2.0, 3.0], [1.0, -4.4, 3.0], [1, -2, 5.4]]))
    mesh = extract_mesh(concatenate([ball(), inner, floater]), RASTERIZER, resolution=48)
    radius = np.linalg.norm(mesh.vertices - CENTER, axis=1)
    assert radius.min() > 0.9 * RADIUS and radius.max() < 1.1 * RADIUS


def test_a_field_is_closed_without_specks_or_cavities():
    place = np.stack(np.meshgrid(*[np.arange(20.0)] * 3, indexing="ij"), axis=-1)
    distance = np.linalg.norm(place - 9.5, axis=-1)
    solid = np.where(distance < 7, -0.5, 0.5).astype(np.float32)
    spoilt = np.where(distance < 3, 0.5, solid).astype(np.float32)  # a cavity
    spoilt[1, 1, 1] = -1  # a speck
    assert np.array_equal(closed_field(spoilt) < 0, solid < 0)
    cut = closed_field(np.full((8, 8, 8), -1, np.float32))
    assert (cut[1:-1, 1:-1, 1:-1] < 0).all() and (cut < 0).sum() == 6**3


def test_depth_of_a_translucent_front_is_not_mixed_with_the_back():
    gaussians = ball(opacity=0.8)
    camera = cameras_around(gaussians, 5, 64)[2]
    rendering = render_front(gaussians, camera, RASTERIZER)
    middle = float(rendering.depth[0, 0, 28:36, 28:36].mean())
    distance = float((camera.position - torch.from_numpy(CENTER)).norm())
    assert middle == pytest.approx(distance - RADIUS, abs=0.05 * RADIUS)
    assert not rendering.depth[0, 0, 0, 0]
    plain = RASTERIZER(gaussians[None], camera[None, None].float(), torch.zeros(1, 3))
    torch.testing.assert_close(rendering.rgb, plain.rgb[0], atol=1e-5, rtol=0)
    torch.testing.assert_close(rendering.alpha, plain.alpha[0], atol=1e-5, rtol=0)


def test_a_floater_far_behind_does_not_blur_the_depth():
    gaussians = ball(1000)
    camera = cameras_around(gaussians, 5, 64)[2]
    far = replace(mouse_like(1), means=(camera.position + 1e4 * camera.world_from_camera[:3, 2])[None].float())
    with_floater = render_front(concatenate([gaussians, far]), camera, RASTERIZER)
    torch.testing.assert_close(
        with_floater.depth[0, 0, 28:36, 28:36],
        render_front(gaussians, camera, RASTERIZER).depth[0, 0, 28:36, 28:36],
        atol=0.02 * RADIUS,
        rtol=0,
    )


def test_nothing_solid_gives_no_mesh_but_a_reason():
    with pytest.raises(UserError, match="nearly transparent"):
        extract_mesh(replace(mouse_like(50), opacities=torch.full((50,), 0.01)), RASTERIZER, resolution=16)
    with pytest.raises(UserError, match="covered by half"):
        extract_mesh(replace(mouse_like(3), opacities=torch.full((3,), 0.2)), RASTERIZER, resolution=16)


def test_a_glb_file_is_what_the_standard_says(mesh, tmp_path):
    write_glb(mesh, tmp_path / "m.glb")
    data = (tmp_path / "m.glb").read_bytes()
    magic, version, total, size, kind = struct.unpack_from("<4sIIII", data)
    assert (magic, version, total, kind) == (b"glTF", 2, len(data), 0x4E4F534A)
    document = json.loads(data[20 : 20 + size])
    (rest, kind), start = struct.unpack_from("<II", data, 20 + size), 28 + size
    assert kind == 0x004E4942 and start + rest == len(data) and not size % 4 and not rest % 4
    kinds = {5126: "<f4", 5123: "<u2", 5125: "<u4"}
    arrays = []
    for accessor in document["accessors"]:
        view = document["bufferViews"][accessor["bufferView"]]
        width = {"SCALAR": 1, "VEC3": 3, "VEC4": 4}[accessor["type"]]
        offset, count = start + view["byteOffset"], accessor["count"] * width
        arrays.append(np.frombuffer(data, kinds[accessor["componentType"]], count, offset).reshape(-1, width))
    np.testing.assert_allclose(arrays[0], mesh.vertices, rtol=1e-6)
    np.testing.assert_array_equal(arrays[2].reshape(-1, 3), mesh.faces)
    linear = arrays[1][:, :3] / 65535
    pictured = np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
    np.testing.assert_allclose(pictured, mesh.colours, atol=2e-4)
    np.testing.assert_allclose(document["accessors"][0]["max"], mesh.vertices.max(axis=0), rtol=1e-6)


def test_a_second_reader_opens_the_file_with_z_turned_up(mesh, tmp_path):
    trimesh = pytest.importorskip("trimesh", reason="pip install trimesh")
    write_glb(mesh, tmp_path / "m.glb")
    scene = trimesh.load(tmp_path / "m.glb")
    (shape,) = scene.geometry.values()
    assert shape.is_watertight and shape.volume == pytest.approx(volume(mesh), rel=1e-4)
    x, y, z = scene.bounds.mean(axis=0)
    np.testing.assert_allclose([x, -z, y], CENTER, atol=0.02)


def test_cameras_around_see_all_of_the_object_from_all_sides():
    gaussians = ball()
    cameras = cameras_around(gaussians, 24, 64)
    pixel, depth = cameras.project(gaussians.means.double().expand(24, -1, 3))
    assert (depth > 0).all() and pixel.min() > 0 and pixel.max() < 64
    direction = torch.nn.functional.normalize(cameras.position - torch.from_numpy(CENTER), dim=-1)
    assert direction.mean(dim=0).norm() < 0.05
    nearest = (direction @ direction.mT - 2 * torch.eye(24)).amax(dim=1)
    assert torch.rad2deg(nearest.clamp(-1, 1).acos()).min() > 25
