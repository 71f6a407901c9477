"""The page of a running viser server, in a browser and with its panel worked by hand."""

import time

import numpy as np
import pytest
from browser import Browser, chromium
from view_helpers import write_reconstruction

from gslrm.errors import UserError
from gslrm.view.controls import FREE, SPLATS
from gslrm.view.folders import read_scene
from gslrm.view.server import serve
from gslrm.view.stage import Stage

PATIENCE = 60.0
VISERS_OWN = "computeBoundingSphere(): Computed radius is NaN"  # viser 1.1.1 complains of its own splats, of any data


def wait_for(condition) -> None:
    until = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.1)


def test_without_viser_the_cure_is_named(tmp_path, monkeypatch):
    write_reconstruction(tmp_path)
    monkeypatch.setitem(__import__("sys").modules, "viser", None)
    with pytest.raises(UserError, match="pip install viser.*--static"):
        serve([read_scene(tmp_path / "out")], host="localhost", port=0)


@pytest.fixture(scope="module")
def viewer(tmp_path_factory):
    pytest.importorskip("viser")
    from gslrm.view.server import Viewer

    root = tmp_path_factory.mktemp("served")
    for index in range(2):
        write_reconstruction(root, f"moment_{index}", shift=15.0 * index)
    viewer = Viewer([read_scene(root / "out"), read_scene(root / "out" / "moment_1")], host="localhost", port=8765)
    yield viewer
    viewer.stop()


@pytest.mark.slow
def test_the_panel_chooses_model_moment_and_splats(viewer):
    controls = viewer.controls
    assert viewer.moment.name == "moment_0" and len(viewer.cameras) == 4
    everything = len(viewer.visible(viewer.moment).means)
    controls.opacity.value = 0.8
    faint = len(viewer.visible(viewer.moment).means)
    controls.cropping.value = 0.3
    assert 0 < len(viewer.visible(viewer.moment).means) < faint < everything
    controls.opacity.value, controls.cropping.value = 0.0, 1.5
    controls.step()
    assert viewer.moment.name == "moment_1"
    controls.step()
    assert viewer.moment.name == "moment_0"
    controls.model.value = controls.model.options[1]
    assert viewer.moment is viewer.scenes[1].moments[0]
    controls.model.value = controls.model.options[0]


@pytest.mark.slow
def test_renderings_agree_with_the_pictures_they_were_made_from(viewer):
    comparison = viewer.compare(viewer.moment.cameras[0])
    assert comparison.psnr > 40
    photo, render, error = (comparison.picture(kind).astype(float) for kind in ("photo", "render", "error"))
    assert np.abs(photo - render).mean() < 1 and np.abs(photo - error).mean() > 10


@pytest.mark.slow
@pytest.mark.skipif(chromium() is None, reason="needs Chromium")
def test_the_page_draws_snaps_and_is_left(viewer, tmp_path):
    with Browser() as browser:
        browser.window(700, 460)
        browser.open(viewer.address)
        wait_for(lambda: viewer.server.get_clients())
        client = next(iter(viewer.server.get_clients().values()))
        wait_for(lambda: client.camera.image_width > 0)
        time.sleep(4)  # splats fade in
        seen = [browser.screenshot(tmp_path / "free.png")]
        viewer.controls.through.value = "cam1"
        viewer.snap(client, "cam1")
        pose = Stage.around(*viewer.scenes[0].ball).pose(viewer.moment.camera("cam1").camera)
        wait_for(lambda: client.client_id in viewer.arrived)
        assert np.allclose(client.camera.position, pose.position, atol=0.05)
        assert abs(np.dot(client.camera.wxyz, pose.wxyz)) > 0.9999
        time.sleep(1)
        seen.append(browser.screenshot(tmp_path / "snap.png"))
        for kind in ("render", "error"):
            viewer.controls.instead.value = kind
            viewer.picture(client)
            time.sleep(1)
            seen.append(browser.screenshot(tmp_path / f"{kind}.png"))
        viewer.controls.instead.value = SPLATS
        viewer.picture(client)
        browser.drag((250, 200), (330, 220))
        wait_for(lambda: viewer.controls.camera == FREE)
        time.sleep(1)
        seen.append(browser.screenshot(tmp_path / "left.png"))
        assert len(set(seen)) == len(seen)
        assert not [error for error in browser.errors if VISERS_OWN not in error]
