"""The turn's figure: even for what is solid, spikes at the input views for pictures on cards."""

import math
from dataclasses import replace

import pytest
import torch
from motion_helpers import render, synthetic_mouse

from gslrm.look_around import Circle
from gslrm.metrics import psnr
from gslrm.motion.cards import pictures_on_cards
from gslrm.motion.turn import InputView, TurnMeter, turn_figures, turn_page
from gslrm.types import Gaussians, Rendering

FRAMES, SIZE = 72, 40


def middle() -> torch.Tensor:
    means = synthetic_mouse().gaussians.means.double()
    return (means.amin(dim=0) + means.amax(dim=0)) / 2


def circle() -> Circle:
    position = synthetic_mouse().views.cameras.position
    return Circle.at_distance(
        float((position - middle()).norm(dim=1).mean()),
        center=middle(),
        radius=65.0,
        up=torch.tensor([0.0, 0.0, 1.0], dtype=torch.float64),
        elevation=16.0,
    )


def figures(gaussians: Gaussians) -> dict:
    cameras = circle().cameras(FRAMES, SIZE)
    meter = TurnMeter(render(gaussians, cameras[number]) for number in range(FRAMES))
    assert len(list(meter)) == FRAMES
    position = synthetic_mouse().views.cameras.position
    views = [InputView(f"Camera{number + 1}", circle().azimuth(position[number])) for number in range(6)]
    return turn_figures(meter.changes(), views)


@pytest.fixture(scope="module")
def solid() -> dict:
    return figures(synthetic_mouse().gaussians)


@pytest.fixture(scope="module")
def cards() -> dict:
    return figures(pictures_on_cards(synthetic_mouse().views, middle(), share=0.4))


def test_a_solid_mouse_changes_evenly_and_cards_jump_at_every_input_view(solid, cards):
    assert solid["spike"] < 2 and solid["views_with_spike"] == 0
    assert cards["views_with_spike"] >= 5  # one camera stands 9 degrees above the turn
    assert cards["spike"] > 3 * solid["spike"]
    for ours, theirs in zip(cards["views"], solid["views"], strict=True):
        assert ours["peak"] > 1.5 * theirs["peak"]
    nearest = min(abs((cards["spike_azimuth"] - view["azimuth"] + 180) % 360 - 180) for view in cards["views"])
    assert nearest < 12


def test_cards_look_like_the_pictures_at_the_input_cameras():
    mouse = synthetic_mouse()
    cards = pictures_on_cards(mouse.views, middle(), share=0.4)
    for index in range(6):
        ours = render(cards, mouse.views.cameras[index])
        assert float(psnr(ours.rgb[0].clamp(0, 1), mouse.views.images[index].float())) > 20
        assert float((ours.alpha[0] - mouse.views.masks[index]).abs().mean()) < 0.05


@pytest.mark.parametrize("factor", [0.5, 2.0])
def test_neither_the_number_of_frames_nor_contrast_decides(factor):
    flat = Rendering(torch.ones(1, 3, 2, 2), torch.ones(1, 1, 2, 2), torch.ones(1, 1, 2, 2))

    def turn(count, contrast):
        for number in range(count):
            wave = 0.5 + contrast * 0.25 * math.sin(2 * math.pi * number / count)
            yield replace(flat, rgb=wave * flat.rgb)

    def found(count, contrast=1.0):
        meter = TurnMeter(turn(count, contrast))
        list(meter)
        return turn_figures(meter.changes(), [InputView("a", 90.0)])

    many, few = found(360), found(90)
    assert many["median_change"] == pytest.approx(few["median_change"], rel=0.03)
    assert many["spike"] == pytest.approx(few["spike"], rel=0.03) == pytest.approx(math.sqrt(2), rel=0.03)
    assert found(90, factor)["median_change"] == pytest.approx(factor * few["median_change"], rel=1e-4)
    assert found(90, factor)["spike"] == pytest.approx(few["spike"], rel=1e-4)
    assert few["views"][0]["peak"] == pytest.approx(math.sin(math.radians(12)) * math.sqrt(2), rel=0.2)


@pytest.mark.parametrize("count", [0, 1, 3])
def test_nothing_to_see_has_no_spike_and_a_page_that_says_so(count):
    empty = Rendering(torch.ones(1, 3, 2, 2), torch.zeros(1, 1, 2, 2), torch.zeros(1, 1, 2, 2))
    meter = TurnMeter([empty] * count)
    assert len(list(meter)) == count
    found = turn_figures(meter.changes(), [InputView("Camera1", 0.0)])
    assert found["spike"] is None and found["views"][0]["peak"] is None
    assert "nothing to be seen" in turn_page("turn", found)


def test_the_page_marks_the_input_views_and_tells_the_verdict(solid, cards):
    good, bad = turn_page("turn", solid), turn_page("turn", cards)
    assert "changes evenly" in good and "jumps at" in bad
    assert good.count("Camera") == 6 and "<svg" in good and "input views" in good


@pytest.mark.parametrize("up", [(0.0, 0.0, 1.0), (0.0, -1.0, 0.0), (0.6, 0.0, 0.8)])
def test_a_circle_is_level_even_and_passes_before_the_cameras_that_lie_on_it(up):
    turn = replace(circle(), up=torch.tensor(up, dtype=torch.float64), center=torch.tensor([5.0, 7.0, 9.0]).double())
    cameras = turn.cameras(12, 32)
    offset = cameras.position - turn.center
    torch.testing.assert_close(offset.norm(dim=1), torch.full((12,), turn.distance).double())
    height = offset @ turn.up
    torch.testing.assert_close(height, torch.full((12,), turn.distance * math.sin(math.radians(16))).double())
    azimuths = [turn.azimuth(position) for position in cameras.position]
    assert azimuths == pytest.approx([30.0 * number for number in range(12)], abs=1e-6) or azimuths[0] > 359.99
    shown_up = -(cameras.world_from_camera[:, :3, 1] @ turn.up)
    assert (shown_up > 0.9).all()  # upright
    horizontal = cameras.world_from_camera[:, :3, 0] @ turn.up
    torch.testing.assert_close(horizontal, torch.zeros(12).double(), atol=1e-9, rtol=0)


def test_a_circle_shows_its_ball_whole():
    turn = circle()
    generator = torch.Generator().manual_seed(0)
    points = turn.center + turn.radius * torch.nn.functional.normalize(
        torch.randn(200, 3, generator=generator, dtype=torch.float64), dim=1
    )
    pixel, depth = turn.cameras(5, 100).project(points.expand(5, 200, 3))
    assert (depth > 0).all() and (pixel > 0).all() and (pixel < 100).all()
    assert float((pixel - 50).abs().max()) > 38  # and not much smaller than the frame
