"""Laws of the Gaussians inside a page."""

from dataclasses import replace

import pytest
import torch
from export_helpers import covariances, mouse_like
from view_helpers import mouse, rig

from gslrm.export.scene import spatial_order
from gslrm.render import build_rasterizer
from gslrm.view.comparison import render
from gslrm.view.packing import DRAWN, SMALL, STEPS, pack, unpack
from gslrm.view.thinning import thin


@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e4])
def test_unpacking_gives_back_what_was_packed_within_a_step(scale):
    gaussians = mouse_like(500)
    gaussians = replace(gaussians, means=scale * gaussians.means, scales=scale * gaussians.scales)
    expected = gaussians[gaussians.opacities >= DRAWN]
    expected = expected[spatial_order(expected.means)]
    packed = pack(gaussians)
    found = unpack(packed)
    assert packed.header["step"] == pytest.approx(float(expected.scales.quantile(SMALL)) / STEPS, rel=1e-3)
    assert (found.means - expected.means).abs().max() <= 0.51 * packed.header["step"]
    assert (found.opacities - expected.opacities).abs().max() <= 0.51 / 255
    assert (found.scales / expected.scales - 1).abs().max() < 0.01
    largest = covariances(expected).flatten(1).abs().amax(dim=1)
    assert ((covariances(found) - covariances(expected)).flatten(1).abs().amax(dim=1) / largest).max() < 0.03
    torch.testing.assert_close(found.harmonics, expected.harmonics, rtol=0, atol=0.51 / 255 / 0.282)


def test_any_quaternion_survives():
    generator = torch.Generator().manual_seed(3)
    turns = torch.cat([torch.eye(4), -torch.eye(4), torch.randn(300, 4, generator=generator)])
    turns = torch.nn.functional.normalize(turns, dim=1)
    gaussians = replace(mouse_like(len(turns)), rotations=turns, opacities=torch.ones(len(turns)))
    expected = turns[spatial_order(gaussians.means)]
    assert ((unpack(pack(gaussians)).rotations * expected).sum(dim=1).abs() > 1 - 5e-6).all()


def test_colours_beyond_white_are_kept_and_negative_ones_are_black():
    gaussians = mouse_like(50)
    harmonics = torch.linspace(-4, 4, 50)[:, None, None].expand(50, 1, 3)
    found = unpack(pack(replace(gaussians, harmonics=harmonics, opacities=torch.ones(50))))
    colours = 0.28209479 * found.harmonics + 0.5
    assert colours.max() == pytest.approx(0.28209479 * 4 + 0.5, abs=1e-5) and colours.min() == pytest.approx(
        0, abs=1e-6
    )


def test_gaussians_that_are_never_drawn_are_left_out():
    gaussians = mouse_like(100)
    hidden = replace(gaussians, opacities=torch.where(torch.arange(100) < 60, 0.003, 0.5))
    assert pack(hidden).header["count"] == 40
    nothing = pack(replace(gaussians, opacities=torch.zeros(100)))
    assert nothing.header["count"] == 0 and not len(unpack(nothing).means)


def test_a_page_shows_what_the_gaussians_show():
    gaussians, camera, rasterizer = mouse(), rig()[1], build_rasterizer("cpu", device="cpu")
    pictures = [render(scene, camera, rasterizer) for scene in (gaussians, unpack(pack(gaussians)))]
    assert (pictures[0] - pictures[1]).abs().mean() < 0.5 / 255


def test_nan_is_refused():
    gaussians = mouse_like(10)
    with pytest.raises(ValueError, match="NaN"):
        pack(replace(gaussians, opacities=torch.full((10,), torch.nan)))


def test_thinning_keeps_what_is_seen():
    gaussians, rasterizer = mouse(400), build_rasterizer("cpu", device="cpu")
    inner = replace(
        gaussians, means=gaussians.means.mean(dim=0) + 0.1 * (gaussians.means - gaussians.means.mean(dim=0))
    )
    both = gaussians.map(lambda tensor: torch.cat([tensor, tensor]))
    both = replace(both, means=torch.cat([gaussians.means, inner.means]), opacities=torch.ones(800))
    kept = thin(both, 400, rasterizer)
    shown = (kept.means[:, None] == gaussians.means[None]).all(dim=2).any(dim=1)
    assert len(kept.means) == 400 and shown.float().mean() > 0.9
    assert thin(gaussians, 400, rasterizer) is gaussians
