"""The camera report: what it draws is where the cameras are, before and after normalisation."""

import base64
import io
import json
import re
import runpy
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers import random_cameras, ring, write_ball_sample
from PIL import Image

from gslrm.camera_report import ray_channels
from gslrm.cameras import Cameras, nearest_to_origin
from gslrm.config_io import config_from_mapping
from gslrm.data.sample import CAMERA_FILE
from gslrm.model.gaussian_head import embed_rays
from gslrm.rig_page import rig_page
from gslrm.rig_page_script import SCRIPT
from gslrm.visualize.rays import ray_sheet
from gslrm.visualize.rig import RigView, corner_points, rig_sheet

ROOT = Path(__file__).parents[2]


def call(*arguments: object) -> int:
    """Run the script in this process; returns its exit status."""
    script = str(ROOT / "scripts/visualize_cameras.py")
    argv, sys.argv = sys.argv, [script, *map(str, arguments)]
    try:
        runpy.run_path(script, run_name="__main__")
    except SystemExit as error:
        return int(error.code or 0)
    finally:
        sys.argv = argv
    return 0


def scene_of(page: str) -> list[dict]:
    (data,) = re.findall(r'<script type="application/json">(.*?)</script>', page, re.DOTALL)
    return json.loads(data)


@pytest.fixture(scope="module")
def report(tmp_path_factory) -> tuple[Path, Cameras]:
    """The report of a rig of six, five of them input, with the default configuration."""
    folder, cameras = tmp_path_factory.mktemp("report"), ring(6)
    write_ball_sample(folder / "mouse", cameras)
    assert call("--data", folder / "mouse", "--output", folder / "out") == 0
    return folder / "out/mouse", cameras


class TestReport:
    def test_all_three_files_are_written_and_pictures_open(self, report):
        folder, _ = report
        assert sorted(path.name for path in folder.iterdir()) == ["cameras.html", "cameras.png", "rays.png"]
        for name in ("cameras.png", "rays.png"):
            assert np.array(Image.open(folder / name).convert("L"))[::4, ::4].std() > 5

    def test_the_page_needs_nothing_from_elsewhere(self, report):
        page = (report[0] / "cameras.html").read_text()
        assert not re.findall(r"""(?:src|href)\s*=\s*["'](?!data:)""", page)
        assert not re.findall(r"https?://|@import|url\(", page)
        assert page.count("<script") == page.count("</script>") == 2

    def test_the_page_holds_both_states_with_every_camera_where_it_stands(self, report):
        folder, cameras = report
        before, after = scene_of((folder / "cameras.html").read_text())
        for index in range(6):
            camera = before["cameras"][index]
            np.testing.assert_allclose(camera["position"], cameras[index].position.numpy(), atol=1e-9)
            pixel, _ = cameras[index][None].project(torch.tensor([camera["corners"]], dtype=torch.float64))
            expected = [[0, 0], [64, 0], [64, 64], [0, 64]]
            np.testing.assert_allclose(pixel[0].numpy(), expected, atol=1e-6)
        assert [camera["input"] for camera in before["cameras"]] == [True] * 5 + [False]
        inputs = [np.linalg.norm(camera["position"]) for camera in after["cameras"] if camera["input"]]
        assert np.mean(inputs) == pytest.approx(2.7, abs=1e-9)
        assert np.linalg.norm(after["object"]["center"]) < 1e-9
        ratio = after["mean"] / before["mean"]
        assert after["object"]["radius"] == pytest.approx(ratio * before["object"]["radius"], rel=1e-6)

    def test_thumbnails_show_what_each_camera_shows(self, report):
        for state in scene_of((report[0] / "cameras.html").read_text()):
            for camera in state["cameras"]:
                kind, data = camera["picture"].split(",", 1)
                assert kind == "data:image/jpeg;base64"
                picture = np.array(Image.open(io.BytesIO(base64.b64decode(data))).convert("L"))
                assert picture.min() < 120 < 250 < picture.max()  # the ball, on white

    def test_buttons_name_the_states_and_switches_what_can_be_hidden(self, report):
        page = (report[0] / "cameras.html").read_text()
        assert re.findall(r'data-state="\d" aria-pressed="(\w+)">([^<]+)<', page) == [
            ("true", "as stored"),
            ("false", "as the network sees it"),
        ]
        assert set(re.findall(r'data-show="(\w+)"', page)) == {"rays", "pictures", "names"}

    def test_the_table_says_how_far_each_camera_stands(self, report):
        folder, _ = report
        page = (folder / "cameras.html").read_text()
        before, _ = scene_of(page)
        center = np.array(before["object"]["center"])
        for camera in before["cameras"]:
            assert f"<td>{np.linalg.norm(camera['position'] - center):.5g}</td>" in page

    def test_the_script_is_valid(self, tmp_path):
        if shutil.which("node") is None:
            pytest.skip("node is not installed")
        (tmp_path / "page.js").write_text(SCRIPT)
        done = subprocess.run(["node", "--check", tmp_path / "page.js"], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr

    def test_samples_of_a_list_are_chosen_evenly(self, tmp_path):
        for name in ("a", "b", "c"):
            write_ball_sample(tmp_path / name, ring(6, size=32))
        assert call("--data", tmp_path, "--output", tmp_path / "out", "--num-samples", 2) == 0
        assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["a", "c"]


class TestBrokenRigs:
    def test_a_rig_that_cannot_be_placed_is_drawn_as_stored_with_the_reason(self, tmp_path, capsys):
        directory = write_ball_sample(tmp_path / "inverted", ring(6))
        file = directory / CAMERA_FILE
        content = json.loads(file.read_text())
        for frame in content["frames"]:
            frame["w2c"] = np.linalg.inv(np.array(frame["w2c"])).tolist()
        file.write_text(json.dumps(content))
        assert call("--data", directory, "--output", tmp_path / "out") == 1
        assert "w2c may be inverted" in capsys.readouterr().out
        page = (tmp_path / "out/inverted/cameras.html").read_text()
        assert "cannot be normalised" in page and len(scene_of(page)) == 1
        assert (tmp_path / "out/inverted/cameras.png").is_file()

    def test_too_few_views_are_refused(self, tmp_path):
        assert call("--data", write_ball_sample(tmp_path / "s", ring(3)), "--output", tmp_path / "out") == 2


def rig_of(cameras: Cameras, names: tuple[str, ...]) -> RigView:
    views = tuple(cameras[index] for index in range(len(names)))
    center = torch.zeros(3, dtype=torch.float64)
    return RigView("as stored", "mm", views, names, (True,) * len(names), center, diameter=1.0)


class TestParts:
    def test_names_cannot_become_markup(self):
        names = ("</script><b>x</b>", "Camera <2>")
        page = rig_page("t", [rig_of(random_cameras(2), names)], [[b"", b""]])
        assert page.count("</script>") == 2 and "<b>x" not in page
        assert [camera["name"] for camera in scene_of(page)[0]["cameras"]] == list(names)

    def test_corner_points_lie_at_the_depth_and_project_to_the_corners(self):
        camera = random_cameras(1, size=(20, 30))[0]
        pixel, depth = camera[None].project(corner_points(camera, 0.7)[None])
        corners = torch.tensor([[0, 0], [30, 0], [30, 20], [0, 20]], dtype=torch.float64)
        torch.testing.assert_close(pixel[0], corners, atol=1e-9, rtol=0)
        torch.testing.assert_close(depth[0], torch.full((4,), 0.7, dtype=torch.float64))

    def test_azimuth_and_elevation_are_those_the_cameras_were_put_at(self):
        cameras = Cameras.orbit(4, radius=2.0, elevation=20.0, start_azimuth=30.0, dtype=torch.float64)
        rig = rig_of(cameras, ("a", "b", "c", "d"))
        np.testing.assert_allclose(rig.angles(), [(30, 20), (120, 20), (-150, 20), (-60, 20)], atol=1e-9)
        np.testing.assert_allclose(rig.distances, 2.0)
        np.testing.assert_allclose(rig.off_axis(), 0.0, atol=1e-5)

    def test_the_drawing_has_a_row_per_rig_and_does_not_depend_on_the_unit(self):
        rig = rig_of(random_cameras(3), ("a", "b", "c"))
        one, two = rig_sheet([rig]), rig_sheet([rig, rig])
        assert two.shape == (2 * one.shape[0], one.shape[1], 3) and (two[: len(one)] == one).all()

    @pytest.mark.parametrize("plucker", ["custom", "aug", "plain"])
    def test_ray_channels_are_named_in_the_networks_order(self, plucker):
        model = {"use_custom_plucker": plucker == "custom", "use_aug_plucker": plucker == "aug"}
        in_channels = 12 if plucker == "aug" else 9
        model["image_tokenizer"] = {"in_channels": in_channels}
        config = config_from_mapping({"model": model}, source="test")
        cameras = random_cameras(2, size=(8, 8))[None].float()
        rays, names = embed_rays(cameras, config.model)[0], ray_channels(config)
        assert len(names) == rays.shape[1] == in_channels - 3
        origin, direction = cameras.rays()
        expected = {
            "direction": direction,
            "nearest\npoint": nearest_to_origin(origin, direction)[1],
            "moment": torch.linalg.cross(origin, direction),
        }
        for channel, name in enumerate(names):
            part, axis = name.rsplit(" ", 1)
            torch.testing.assert_close(rays[:, channel], expected[part][0, ..., "xyz".index(axis)])

    def test_maps_of_equal_rays_are_equal_and_of_other_rays_are_not(self):
        images = torch.ones(3, 3, 16, 16)
        rays = torch.linspace(-1, 1, 256).reshape(1, 1, 16, 16).repeat(3, 1, 1, 1)
        rays[2] = rays[2].flip(-1)
        picture = ray_sheet(images, rays, ["direction x"], ["a", "a", "a"])
        width = 176 + 4
        left = picture.shape[1] - 3 * width
        first, second, third = (picture[-176:, left + i * width : left + (i + 1) * width - 4] for i in range(3))
        assert (first == second).all() and (first != third).any()
        assert first[0, 0, 2] > first[0, 0, 0] and first[-8, -8, 0] > first[-8, -8, 2]  # negative blue, positive red
