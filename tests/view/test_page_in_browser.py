"""The page by itself, opened in a browser: it draws what our rasterizer draws, obeys hands and keys, plays."""

import base64
import io

import numpy as np
import pytest
import torch
from browser import Browser, chromium
from PIL import Image
from view_helpers import rig, write_reconstruction

from gslrm.export import as_uint8
from gslrm.render import build_rasterizer
from gslrm.view.comparison import render
from gslrm.view.folders import read_scene
from gslrm.view.scene import Grain
from gslrm.view.static_page import write_page

pytestmark = [pytest.mark.slow, pytest.mark.skipif(chromium() is None, reason="needs Chromium")]


@pytest.fixture(scope="module")
def opened(tmp_path_factory):
    """Two models of two moments each, in a browser."""
    root = tmp_path_factory.mktemp("page")
    for index in range(2):
        write_reconstruction(root, f"moment_{index}", shift=15.0 * index)
    scene = read_scene(root / "out")
    write_page(root / "page.html", [scene, read_scene(root / "out" / "moment_1")])
    with Browser() as browser:
        browser.window(900, 640)
        browser.open((root / "page.html").as_uri())
        browser.evaluate("viewer.ready")
        yield browser, scene
        assert not browser.errors, "\n".join(browser.errors)


@pytest.fixture
def page(opened):
    """The browser with the page as it was at first."""
    browser, scene = opened
    browser.evaluate("(viewer.play(false), viewer.show(0, 0).then(() => viewer.reset()))")
    return browser, scene


def drawn(browser: Browser, camera: int) -> np.ndarray:
    script = f"""(() => {{ const bytes = viewer.pixels({camera});
        return btoa(Array.from(bytes, (byte) => String.fromCharCode(byte)).join("")); }})()"""
    flat = np.frombuffer(base64.b64decode(browser.evaluate(script)), np.uint8)
    cameras = rig()
    return flat.reshape(cameras.height, cameras.width, 4)[..., :3].astype(float)


def settled(browser: Browser) -> bytes:
    """The window after all drawing that was asked for."""
    browser.evaluate("new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(() => done())))")
    return browser.screenshot()


@pytest.mark.parametrize("density", [None, 0.4, 0.15])
@pytest.mark.parametrize("camera", [0, 3])
def test_the_page_draws_what_the_rasterizer_draws(page, camera, density):
    browser, scene = page
    grain = None if density is None else Grain(density, tuple(scene.ball[0].tolist()))
    told = "null" if grain is None else f"{{density: {density}, eps2d: 0.3, center: {list(grain.center)}}}"
    browser.evaluate(f"(viewer.frame.grain = {told}, 0)")
    moment = scene.moments[0]
    picture = render(moment.load(), moment.cameras[camera].camera, build_rasterizer("cpu", device="cpu"), grain)
    truth = as_uint8(picture).astype(float)
    difference = np.abs(drawn(browser, camera) - truth)
    inside = truth.min(axis=2) < 250
    assert inside.mean() > 0.02
    assert difference.mean() < 0.5 and difference[inside].mean() < 2.0
    browser.evaluate("(viewer.frame.grain = null, 0)")


def test_mouse_wheel_and_keys_change_the_picture(page):
    browser, _ = page
    seen = [settled(browser)]
    for act in (
        lambda: browser.drag((300, 250), (380, 270)),
        lambda: browser.wheel((300, 250), 200),
        lambda: browser.drag((300, 250), (340, 260), button="right"),
        lambda: browser.press("ArrowLeft"),
        lambda: browser.press("a"),
        lambda: browser.press("]"),
        lambda: browser.press("o"),
    ):
        act()
        seen.append(settled(browser))
    assert len(set(seen)) == len(seen)
    browser.press("o")
    browser.press("0")
    assert settled(browser) == seen[0]


def test_the_error_is_dark_where_view_and_photo_agree(page):
    """The photo is the view itself, or that with one half turned to its complement."""
    browser, _ = page
    browser.evaluate("viewer.snap(0)")
    photo = """new Promise((done) => {
        viewer.draw();
        const [left, top, width, height] = viewer.view().box.map(Math.round);
        const copy = Object.assign(document.createElement("canvas"), { width, height }), pen = copy.getContext("2d");
        pen.drawImage(viewer.canvas, left, top, width, height, 0, 0, width, height);
        Object.assign(pen, { globalCompositeOperation: "difference", fillStyle: "white" });
        if (%s) pen.fillRect(0, 0, width / 2, height);
        viewer.scene.pictures[viewer.frame.pictures[0]] = copy.toDataURL();
        $("overlay").dataset.source = "";
        $("overlay").onload = () => done(viewer.view().box.map((value) => value / window.devicePixelRatio));
        viewer.draw();
    })"""
    browser.evaluate("(viewer.kept = [...viewer.scene.pictures], $('paper').value = 'white', 0)")
    browser.press("e")
    for spoilt, bright in (("false", False), ("true", True)):
        left, top, width, height = browser.evaluate(photo % spoilt)
        picture = np.asarray(Image.open(io.BytesIO(settled(browser))).convert("RGB")).astype(float)
        top += browser.evaluate("$('stage').getBoundingClientRect().top")
        half = picture[int(top) + 4 : int(top + height) - 4, int(left) + 4 : int(left + width / 2) - 4]
        level = float(half.mean())
        assert level > 200 if bright else level < 12
    browser.press("e")
    assert not browser.evaluate("viewer.comparing")
    browser.evaluate("($('overlay').onload = null, viewer.scene.pictures = viewer.kept, 0)")
    browser.evaluate("($('overlay').dataset.source = '', 0)")
    browser.evaluate("($('paper').value = 'page', 0)")


def test_sliders_hide_splats(page):
    browser, _ = page
    covered = []
    for setting in ("", "opacity=0.9", "crop=0.3"):
        name, _, value = setting.partition("=")
        if name:
            browser.evaluate(f"(viewer.before = $('{name}').value, $('{name}').value = {value})")
        covered.append(float((drawn(browser, 0).min(axis=2) < 250).mean()))
        if name:
            browser.evaluate(f"($('{name}').value = viewer.before)")
    assert covered[1] < 0.9 * covered[0] and covered[2] < 0.9 * covered[0]


def test_moments_play_and_models_switch(page):
    browser, _ = page
    first = drawn(browser, 0)
    browser.evaluate("viewer.step(1)")
    assert browser.evaluate("viewer.now.frame") == 1
    second = drawn(browser, 0)
    assert np.abs(first - second).mean() > 1
    browser.evaluate("viewer.model(1)")
    assert browser.evaluate("viewer.now.model") == 1
    assert np.array_equal(drawn(browser, 0), second)
    browser.evaluate("viewer.show(0, 0)")
    browser.press(" ")
    browser.wait_for("viewer.now.frame === 1")
    browser.wait_for("viewer.now.frame === 0")
    browser.press(" ")
    assert browser.evaluate("viewer.playing") is False


def test_a_snapped_camera_is_left_from_where_it_stood(page):
    browser, scene = page
    browser.evaluate("viewer.snap(2)")
    assert "cam2: input" in browser.evaluate("$('where').textContent")
    browser.evaluate("viewer.turn(0, 0)")
    place = np.array(browser.evaluate("add(viewer.view().view.eye, viewer.origin)"))
    camera = scene.moments[0].cameras[2].camera
    assert np.allclose(place, camera.position.numpy(), rtol=1e-6, atol=1e-3 * float(torch.norm(camera.position)))


def test_the_worker_sorts_as_the_page_does(page):
    browser, _ = page
    agree = """new Promise((done) => {
        const renderer = viewer.renderer, set = renderer.setOrder.bind(renderer);
        renderer.byWorker = 0;
        renderer.setOrder = (order, splats, forward) => {
            set(order, splats, forward);
            const own = sortBackToFront(splats.centers, forward, BUCKETS);
            Object.assign(renderer, { setOrder: set, byWorker: BY_WORKER });
            done(renderer.sorter !== null && order.length === 2000 && order.every((index, i) => index === own[i]));
        };
        viewer.orbit.turn(0.7, 0);
        viewer.draw();
    })"""
    assert browser.evaluate(agree) is True


def test_without_webgl_the_page_says_so(opened, tmp_path):
    browser, scene = opened
    write_page(tmp_path / "page.html", [scene])
    text = (tmp_path / "page.html").read_text(encoding="utf-8")
    broken = text.replace("<script>", "<script>HTMLCanvasElement.prototype.getContext = () => null;", 1)
    (tmp_path / "broken.html").write_text(broken, encoding="utf-8")
    with Browser() as other:
        other.open((tmp_path / "broken.html").as_uri())
        assert "WebGL 2" in other.evaluate("$('problem').innerText")
