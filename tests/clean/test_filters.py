"""Filters keep what is seen, drop what is not, and say what they did."""

from dataclasses import replace

import pytest
import torch
from export_helpers import mouse_like
from helpers import ball_coverage, random_cameras, ring

from gslrm.clean import FILTERS, PRESETS, Evidence, Step, clean, contributions, parse_filters
from gslrm.errors import UserError
from gslrm.render import build_rasterizer
from gslrm.tensor_struct import concatenate
from gslrm.types import Gaussians, Views

RASTERIZER = build_rasterizer("cpu", device="cpu")
CENTER, RADIUS = torch.tensor([48.0, 52.0, 45.0], dtype=torch.float64), 30.0


def ball_views(count: int = 6) -> list[Views]:
    """Masks of a ball, in millimetres."""
    cameras = ring(count, size=64)
    masks = [torch.from_numpy(ball_coverage(cameras[i], CENTER, RADIUS)).float()[None, None] for i in range(count)]
    return [Views(mask.expand(1, 3, 64, 64), mask, cameras[i : i + 1]) for i, mask in enumerate(masks)]


def in_ball(count: int, reach: float) -> Gaussians:
    """Gaussians whose centres are up to `reach` radii from the ball's."""
    gaussians = mouse_like(count)
    generator = torch.Generator().manual_seed(1)
    direction = torch.nn.functional.normalize(torch.randn(count, 3, generator=generator), dim=-1)
    distance = RADIUS * reach * torch.rand(count, 1, generator=generator) ** (1 / 3)
    return replace(gaussians, means=CENTER.float() + direction * distance, scales=40 * gaussians.scales)


def around(gaussians: Gaussians) -> Evidence:
    cameras = random_cameras(4, size=(48, 48))
    return Evidence((), [cameras[i : i + 1] for i in range(4)], RASTERIZER)


def pictures(gaussians: Gaussians, evidence: Evidence) -> torch.Tensor:
    cameras = [camera[None].float() for camera in evidence.cameras]
    return torch.stack([RASTERIZER(gaussians[None], camera, torch.ones(1, 3)).rgb for camera in cameras])


def hidden_inside() -> Gaussians:
    """A solid shell, things inside that nobody sees, things behind the cameras."""
    shell, inner, behind = mouse_like(1500), mouse_like(100), mouse_like(50)
    center = torch.tensor([0.1, -0.2, 0.3])
    shell = replace(shell, opacities=torch.full((1500,), 0.999), scales=torch.full((1500, 3), 0.06))
    inner = replace(inner, means=center + 0.1 * (inner.means - center), scales=0.05 * inner.scales)
    behind = replace(behind, means=behind.means * 100)
    return concatenate([shell, inner, behind])


def test_removing_gaussians_without_contribution_changes_no_pixel():
    gaussians = hidden_inside()
    evidence = around(gaussians)
    kept, steps = clean(gaussians, parse_filters("contribution:0"), evidence)
    assert len(kept.means) < len(gaussians.means) - 50
    assert steps == [Step("contribution:0", 1650, len(kept.means))]
    assert (pictures(kept, evidence) - pictures(gaussians, evidence)).abs().max() <= 1e-6


def test_contributions_are_the_blending_weights_of_one_gaussian_at_a_time():
    gaussians = mouse_like(12)
    gaussians = replace(gaussians, scales=5 * gaussians.scales)
    evidence = around(gaussians)
    found = contributions(gaussians, evidence.cameras, RASTERIZER)
    for index in range(12):
        colours = torch.full((12, 1, 3), -0.5 / 0.28209479177387814)
        colours[index] *= -1  # white among black
        white = replace(gaussians, harmonics=colours)
        views = [RASTERIZER(white[None], camera[None].float(), torch.zeros(1, 3)).rgb for camera in evidence.cameras]
        assert found[index] == pytest.approx(max(float(view[0, 0, 0].sum()) for view in views), rel=1e-4, abs=1e-5)


def test_contributions_do_not_depend_on_colour_and_sum_to_the_coverage():
    gaussians = mouse_like(300, degree=2)
    dark = replace(gaussians, harmonics=-10 * gaussians.harmonics.abs())
    evidence = around(gaussians)
    one = [evidence.cameras[0]]
    found = contributions(gaussians, one, RASTERIZER)
    torch.testing.assert_close(found, contributions(dark, one, RASTERIZER))
    alpha = RASTERIZER(gaussians[None], one[0][None].float(), torch.zeros(1, 3)).alpha
    assert float(found.sum()) == pytest.approx(float(alpha.sum()), rel=1e-4)


def test_contributions_work_on_what_was_made_in_inference_mode():
    with torch.inference_mode():
        gaussians = mouse_like(20)
        assert contributions(gaussians, around(gaussians).cameras, RASTERIZER).shape == (20,)


@pytest.mark.parametrize(
    "text",
    ["opacity:0.7", "scale:0.03", "contribution", "hull", "facelift_scale:0.01", "facelift_floaters:0.1", "box:0.3"],
)
def test_filtering_twice_is_filtering_once(text):
    gaussians = in_ball(400, 1.6) if text == "hull" else lowered(hidden_inside())
    evidence = replace_views(around(gaussians), ball_views())
    once, _ = clean(gaussians, parse_filters(text), evidence)
    twice, _ = clean(once, parse_filters(text), evidence)
    assert 0 < len(once.means) < len(gaussians.means)
    assert torch.equal(once.means, twice.means)


def lowered(gaussians: Gaussians) -> Gaussians:
    """Partly below z = 0, where some of FaceLift's filters look."""
    return replace(gaussians, means=gaussians.means - torch.tensor([0.0, 0.0, 0.4]))


def replace_views(evidence: Evidence, views: list[Views]) -> Evidence:
    return replace(evidence, views=views)


STRICTER = {
    "opacity": [0, 0.3, 0.6, 0.9],
    "scale": [1, 0.03, 0.02, 0.01],
    "contribution": [0, 0.05, 1, 5],
    "hull": [6, 4, 2, 1],
    "facelift_scale": [1, 0.03, 0.01],
    "facelift_floaters": [2, 0.2, 0.05],
    "box": [2, 0.5, 0.2],
}


@pytest.mark.parametrize("name", STRICTER)
def test_a_stricter_threshold_keeps_a_part_of_what_a_milder_one_keeps(name):
    gaussians = in_ball(300, 1.6) if name == "hull" else lowered(mouse_like(300))
    evidence = replace_views(around(gaussians), ball_views())
    masks = [parse_filters(f"{name}:{value}")[0].keeps(gaussians, evidence) for value in STRICTER[name]]
    assert all((strict <= mild).all() for mild, strict in zip(masks, masks[1:], strict=False))
    assert int(masks[-1].sum()) < int(masks[0].sum())


def test_the_hull_vote_never_removes_a_gaussian_inside_all_masks():
    gaussians = in_ball(500, 0.9)
    for needed in range(1, 7):
        kept = parse_filters(f"hull:{needed}/0")[0].keeps(gaussians, Evidence(ball_views()))
        assert kept.all()


def test_the_hull_vote_counts_the_cameras_that_see_background():
    gaussians = in_ball(2, 0.1)
    far = torch.tensor([[0.0, 0.0, 0.0], [0.0, 0.0, 2.5 * RADIUS]])
    gaussians = replace(gaussians, means=CENTER.float() + far)
    views = ball_views()
    empty = replace(views[0], masks=torch.zeros_like(views[0].masks))
    for needed, expected in ((1, [True, False]), (6, [True, False])):
        assert parse_filters(f"hull:{needed}")[0].keeps(gaussians, Evidence(views)).tolist() == expected
    assert parse_filters("hull:1")[0].keeps(gaussians, Evidence([empty, *views[1:]])).tolist() == [False, False]
    assert parse_filters("hull:2")[0].keeps(gaussians, Evidence([empty, *views[1:]])).tolist() == [True, False]


def test_a_camera_that_has_a_gaussian_outside_its_picture_casts_no_vote():
    gaussians = replace(in_ball(1, 0.1), means=torch.tensor([[48.0, 52.0, 5000.0]]))
    assert parse_filters("hull:1")[0].keeps(gaussians, Evidence(ball_views())).all()


def test_facelifts_filters_are_those_of_the_specification():
    base = mouse_like(6)
    gaussians = replace(
        base,
        means=torch.tensor(
            [[0, 0, 0.5], [0, 0, -0.5], [0.7, 0.7, -0.7], [0.7, 0.7, 0.7], [0.92, 0, 0], [0.9, 0.91, 1]]
        ),
        scales=torch.tensor([0.5, 0.5, 0.01, 0.01, 0.01, 0.01])[:, None].expand(6, 3),
        opacities=torch.tensor([0.9, 0.9, 0.9, 0.9, 0.9, 0.041]),
    )
    kept, steps = clean(gaussians, parse_filters("facelift"), Evidence())
    assert [step.filter for step in steps] == [
        "opacity:0.04",
        "facelift_scale:0.1",
        "facelift_floaters:0.6",
        "box:0.91/0.91/1",
    ]
    assert torch.equal(kept.means, gaussians.means[[0, 3, 5]])
    below = replace(gaussians, opacities=torch.full((6,), 0.04))
    assert not parse_filters("opacity:0.04")[0].keeps(below, Evidence()).any()  # above, not at
    assert clean(gaussians, parse_filters("facelift_demo"), Evidence())[1][1].filter == "facelift_scale:0.2"


def test_near_far_drops_the_share_it_names_on_either_side():
    gaussians = in_ball(1000, 1.0)
    kept = parse_filters("near_far:10/100")[0].keeps(gaussians, Evidence(ball_views()[:1]))
    assert 895 <= int(kept.sum()) <= 905
    distance = (gaussians.means.double() - ball_views()[0].cameras.position[0]).norm(dim=-1)
    assert distance[kept].min() >= distance[~kept].max()


def test_filters_are_applied_in_the_order_given_and_reported():
    kept, steps = clean(mouse_like(200), parse_filters(" opacity:0.5 , box:0.3/1/1 ,"), Evidence())
    assert [step.filter for step in steps] == ["opacity:0.5", "box:0.3/1/1"]
    assert steps[0].after == steps[1].before and steps[1].after == len(kept.means)


@pytest.mark.parametrize("name", FILTERS)
def test_no_gaussians_pass_any_filter_unharmed(name):
    nothing = mouse_like(10)[torch.zeros(10, dtype=torch.bool)]
    evidence = replace_views(around(nothing), ball_views())
    kept, _ = clean(nothing, parse_filters(name), evidence)
    assert kept.means.shape == (0, 3)


@pytest.mark.parametrize(
    "text", ["opacty", "opacity:x", "opacity:1/2", "hull:-1", "opacity:nan", "near_far:5/200", "box:inf"]
)
def test_what_is_no_filter_is_refused_with_the_choice(text):
    with pytest.raises(UserError, match=r"--clean.*(choose of opacity|write )"):
        parse_filters(text)


def test_filters_without_their_evidence_say_what_is_missing():
    for name in ("contribution", "hull", "near_far"):
        with pytest.raises(UserError, match="camera"):
            clean(mouse_like(5), parse_filters(name), Evidence())
    with pytest.raises(UserError, match="from 1 to 6"):
        clean(mouse_like(5), parse_filters("hull:7"), Evidence(ball_views()))


def test_every_preset_and_default_parses_to_itself():
    for text in [*FILTERS, *PRESETS]:
        filters = parse_filters(text)
        assert parse_filters(",".join(map(str, filters))) == filters
    assert parse_filters("") == ()
