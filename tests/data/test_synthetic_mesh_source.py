import json
import os
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from gslrm.data import synthetic_scene
from gslrm.data.sample import read_sample
from gslrm.data.synthetic_mesh_source import animal_of, mesh_files, read_mesh, require_size
from gslrm.data.synthetic_raster import photograph
from gslrm.data.synthetic_scene import Views, scene_of
from gslrm.errors import UserError

trimesh = pytest.importorskip("trimesh")
ROOT = Path(__file__).parents[2]
RADIUS = 22.0


@pytest.fixture
def ball(tmp_path) -> Path:
    path = tmp_path / "ball.ply"
    mesh = trimesh.creation.icosphere(subdivisions=4, radius=RADIUS)
    mesh.visual.vertex_colors = np.full((len(mesh.vertices), 4), (200, 100, 50, 255), np.uint8)
    mesh.export(path)
    return path


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


@pytest.mark.parametrize("suffix", ["ply", "obj", "glb", "off", "stl"])
def test_every_format_gives_the_same_surface(tmp_path, ball, suffix):
    path = tmp_path / f"other.{suffix}"
    trimesh.load(ball, force="mesh", process=False).export(path)
    expected, found = (read_mesh(file, scale=1.0, up="z") for file in (ball, path))
    triangles = [mesh.vertices[mesh.faces] for mesh in (expected, found)]
    np.testing.assert_allclose(*(np.sort(t.mean(axis=1), axis=0) for t in triangles), atol=1e-4)
    if suffix in ("ply", "obj", "glb"):
        np.testing.assert_allclose(found.colours.mean(axis=0), np.array([200, 100, 50]) / 255, atol=0.01)


def test_scale_and_upward_axis_are_applied(tmp_path):
    path = tmp_path / "box.ply"
    trimesh.creation.box(extents=(0.01, 0.02, 0.03)).export(path)
    box = read_mesh(path, scale=1000.0, up="y").vertices
    np.testing.assert_allclose(np.ptp(box, axis=0), [10, 30, 20], atol=1e-4)
    turned = read_mesh(path, scale=1000.0, up="z").vertices
    x, y, z = turned.T
    np.testing.assert_allclose(np.sort(box, axis=0), np.sort(np.stack([x, -z, y], axis=1), axis=0), atol=1e-4)


def test_a_sphere_is_photographed_as_a_sphere(ball):
    draw = animal_of([ball], scale=1.0, up="z")
    mesh, cameras, _ = scene_of(rng(3), Views(128, extra=3, held_out=False), animal=draw)
    pictures = photograph(mesh, cameras)
    middle = 0.5 * (mesh.vertices.min(axis=0) + mesh.vertices.max(axis=0))
    assert mesh.vertices[:, 2].min() == pytest.approx(0, abs=1e-9)
    for view in range(len(cameras.focal)):
        origin, direction = (rays.numpy() for rays in cameras[view].rays())
        offset = middle - origin
        along = (offset * direction).sum(-1)
        hidden = RADIUS**2 - (offset**2).sum(-1) + along**2
        point = (along - np.sqrt(np.maximum(hidden, 0)))[..., None] * direction
        depth = (point * cameras[view].world_from_camera[:3, 2].numpy()).sum(-1)
        inner = hidden > 60
        assert (pictures.coverage[view][inner] == 1).all()
        assert (pictures.coverage[view][hidden < -60] == 0).all()
        np.testing.assert_allclose(pictures.depth[view][inner], depth[inner], atol=0.15)


def test_a_texture_is_seen_between_the_vertices(tmp_path):
    """Two big triangles with a fine stripe: colours at their corners alone would not show it."""
    from PIL import Image

    picture = np.zeros((8, 64, 3), np.uint8)
    picture[:, 28:36] = 255
    visual = trimesh.visual.TextureVisuals(
        uv=np.array([[0, 0], [1, 0], [1, 1], [0, 1.0]]),
        material=trimesh.visual.material.SimpleMaterial(image=Image.fromarray(picture)),
    )
    plate = trimesh.Trimesh(
        np.array([[0, 0, 0], [40, 0, 0], [40, 0, 30], [0, 0, 30.0]]),
        [[0, 1, 2], [0, 2, 3]],
        visual=visual,
        process=False,
    )
    plate.export(tmp_path / "plate.obj")
    mesh = read_mesh(tmp_path / "plate.obj", scale=1.0, up="z")
    bright = mesh.colours.mean(axis=1)
    x = mesh.vertices[:, 0]
    assert bright[np.abs(x - 20) < 1.2].min() > 0.9 and bright[np.abs(x - 20) > 4].max() < 0.1


def test_open_or_inverted_meshes_are_seen_from_both_sides(ball):
    mesh = trimesh.load(ball, force="mesh", process=False)
    inverted = ball.with_name("inverted.ply")
    mesh.invert()
    mesh.export(inverted)
    views = Views(64, extra=0, held_out=False)
    first, second = (
        photograph(*scene_of(rng(1), views, animal=animal_of([path], scale=1.0, up="z"))[:2])
        for path in (ball, inverted)
    )
    np.testing.assert_array_equal(first.coverage, second.coverage)
    np.testing.assert_allclose(first.depth, second.depth, atol=1e-3)


class TestRefusals:
    def test_an_empty_mesh_is_refused_by_name(self, tmp_path):
        path = tmp_path / "points.ply"
        trimesh.PointCloud(np.random.default_rng(0).normal(size=(10, 3))).export(path)
        with pytest.raises(UserError, match=r"points\.ply"):
            read_mesh(path, scale=1.0, up="z")

    @pytest.mark.parametrize("name", ["broken.obj", "broken.ply", "broken.glb"])
    def test_a_damaged_file_is_refused_by_name(self, tmp_path, name):
        (tmp_path / name).write_bytes(b"\x00\x01 nothing of the kind")
        with pytest.raises(UserError, match=name.replace(".", r"\.")):
            read_mesh(tmp_path / name, scale=1.0, up="z")

    def test_a_size_that_the_rig_cannot_see_is_refused_with_the_cure(self, ball):
        require_size(ball, scale=1.0, up="z")
        with pytest.raises(UserError, match=r"ball\.ply.*--mesh-scale"):
            require_size(ball, scale=0.001, up="z")

    def test_an_animal_that_fits_no_picture_is_refused_instead_of_searched_for_ever(self, ball, monkeypatch):
        monkeypatch.setattr(synthetic_scene, "MOST_RIGS", 2)
        with pytest.raises(UserError, match=r"fits whole into the pictures of none of 2 rigs.*--mesh-scale"):
            scene_of(rng(1), Views(32, extra=0, held_out=False), animal=animal_of([ball], scale=20.0, up="z"))

    def test_missing_files_empty_folders_and_other_files_are_refused(self, tmp_path):
        (tmp_path / "folder").mkdir()
        (tmp_path / "notes.txt").write_text("x")
        for path in (tmp_path / "none.obj", tmp_path / "folder", tmp_path / "notes.txt"):
            with pytest.raises(UserError, match=path.name):
                mesh_files([path])

    def test_a_folder_means_its_meshes_in_order(self, tmp_path, ball):
        for name in ("b.obj", "a.ply", "c.txt"):
            (tmp_path / name).write_bytes(ball.read_bytes())
        assert [path.name for path in mesh_files([tmp_path])] == ["a.ply", "b.obj", "ball.ply"]


def test_the_command_writes_a_users_mesh_in_the_usual_layout(tmp_path, ball):
    script, output = ROOT / "scripts" / "make_synthetic_mice.py", tmp_path / "data"
    options = ["--num-samples", "2", "--size", "64", "--workers", "1", "--mesh", str(ball)]
    command = [sys.executable, str(script), "--output", str(output), *options]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, env=environment, timeout=120)
    assert done.returncode == 0, done.stderr
    sample = read_sample(output / "sample_000000")
    assert len(sample.views) == 12 and json.loads((output / "sample_000000" / "opencv_cameras.json").read_text())
    image = cv2.imread(str(sample.views[0].image_path))[..., ::-1]
    mask = cv2.imread(str(sample.views[0].mask_path), cv2.IMREAD_UNCHANGED)
    red, green, blue = image[mask == 255].mean(axis=0)
    assert red > 1.6 * green > 2 * blue
    refused = subprocess.run(
        [*command[:-1], str(tmp_path / "none.ply"), "--overwrite"],
        capture_output=True, text=True, cwd=ROOT, env=environment, timeout=120,
    )  # fmt: skip
    assert refused.returncode == 2 and "none.ply" in refused.stderr and "Traceback" not in refused.stderr
    assert (output / "sample_000000").exists()  # nothing is removed before the meshes are known to be good
