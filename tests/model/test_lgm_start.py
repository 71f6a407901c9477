"""LGM that starts on its rays: the untrained network is the start, the trained one may go anywhere."""

from dataclasses import replace

import pytest
import torch
from model_helpers import ball_views

from gslrm.config import ModelConfig
from gslrm.model import build_model
from gslrm.model.lgm import LGM
from gslrm.model.lgm_start import COVERED

SIZE, RADIUS = 32, 0.3


def model(anchor: str = "ray", **start: float) -> LGM:
    torch.manual_seed(0)
    shape = {"down_channels": [32, 32], "down_attention": [False, True]}
    shape |= {"up_channels": [32, 32], "up_attention": [True, False]}
    lgm = shape | {"start": {"anchor": anchor} | start}
    settings = {"family": "lgm", "lgm": lgm, "image_tokenizer": {"image_size": SIZE}}
    return build_model(ModelConfig.model_validate(settings | {"hull_range": 0.5}))


@pytest.fixture(scope="module")
def ball():
    return ball_views(5, radius=RADIUS, size=SIZE)[None]


def shown(ball):
    return (ball.masks[:, :, 0] > COVERED).flatten(1)


@pytest.mark.parametrize("anchor", ["ray", "hull"])
def test_an_untrained_network_stands_on_its_pixels_rays_in_their_colours(ball, anchor):
    with torch.no_grad():
        gaussians = model(anchor)(ball)
    origin, direction = (rays.flatten(1, 3) for rays in ball.cameras.rays())
    offset = gaussians.means - origin
    away = (offset - (offset * direction).sum(-1, keepdim=True) * direction).norm(dim=-1)
    assert away[shown(ball)].max() < 1e-5
    colour = gaussians.harmonics[:, :, 0] * 0.28209479177387814 + 0.5
    torch.testing.assert_close(colour[shown(ball)], torch.full_like(colour[shown(ball)], 0.3), atol=2e-3, rtol=0)
    torch.testing.assert_close(gaussians.rotations.norm(dim=-1), torch.ones_like(gaussians.opacities))


def test_pixels_without_foreground_have_no_gaussian(ball):
    with torch.no_grad():
        opacities = model(opacity=0.0)(ball).opacities
    assert (opacities[~shown(ball)] == 0).all()
    torch.testing.assert_close(opacities[shown(ball)], torch.full_like(opacities[shown(ball)], 0.5))


def test_the_hull_is_nearer_to_the_ball_than_the_plane_through_its_middle(ball):
    with torch.no_grad():
        distance = {anchor: model(anchor)(ball).means.norm(dim=-1)[shown(ball)] for anchor in ("ray", "hull")}
    surface = {anchor: (value - RADIUS).abs().mean() for anchor, value in distance.items()}
    assert surface["hull"] < 0.5 * surface["ray"]
    assert surface["hull"] < 0.05


def test_scales_start_as_the_share_of_a_pixel_at_the_object_that_is_asked_for(ball):
    with torch.no_grad():
        gaussians = model(scale=0.6)(ball)
    distance = ball.cameras.position.norm(dim=-1)
    pixel = (distance / ball.cameras.focal.amax(dim=-1)).repeat_interleave(SIZE * SIZE, dim=1)
    share = gaussians.scales / pixel[..., None]
    torch.testing.assert_close(share[shown(ball)], torch.full_like(share[shown(ball)], 0.6), atol=0.02, rtol=0)


def test_gradients_reach_every_parameter_after_one_step_and_none_is_spoiled(ball):
    network = model()
    optimiser = torch.optim.SGD(network.parameters(), lr=0.1)
    for _ in range(2):
        optimiser.zero_grad()
        gaussians = network(ball)
        (gaussians.means.square().mean() + gaussians.opacities.mean() + gaussians.scales.mean()).backward()
        optimiser.step()
    norms = {name: value.grad.norm() for name, value in network.named_parameters()}
    assert all(norm.isfinite() for norm in norms.values())
    assert sum(bool(norm > 0) for norm in norms.values()) > 0.9 * len(norms)


def test_the_networks_parameters_have_the_same_names_and_shapes_as_without_a_start():
    plain, started = model("none"), model("ray")
    assert type(plain) is LGM
    assert {k: v.shape for k, v in plain.state_dict().items()} == {k: v.shape for k, v in started.state_dict().items()}


def test_an_empty_view_is_no_reason_for_nan(ball):
    bare = replace(ball, masks=torch.zeros_like(ball.masks), images=torch.ones_like(ball.images))
    for anchor in ("ray", "hull"):
        network = model(anchor)
        gaussians = network(bare)
        (gaussians.means.sum() + gaussians.opacities.sum() + gaussians.harmonics.sum()).backward()
        assert (gaussians.opacities == 0).all()
        assert all(value.grad is None or value.grad.isfinite().all() for value in network.parameters())
        assert gaussians.means.isfinite().all() and gaussians.scales.isfinite().all()
