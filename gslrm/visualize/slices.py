"""Gaussians -> cuts through them: the centres in three orthogonal slabs, with colour, opacity and size."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from PIL import Image, ImageDraw
from torch import Tensor

from gslrm import harmonics as sh
from gslrm.types import Gaussians, matrix_from_quaternion
from gslrm.visualize.colours import DEPTH, HEAT, Stops, colour_ramp
from gslrm.visualize.discs import paint_discs
from gslrm.visualize.sheet import INK, Column, Picture, Scale, scale_strip, sheet

PANEL = 420  # pixels
THICKNESS = 0.15  # of the panel's half width, on either side of the cut
MIN_OPACITY = 1 / 255  # fainter Gaussians change no pixel
SEEN_SHARE = 0.98  # of all opacity that lies within the panels, so that a far floater does not shrink the rest
MARGIN = 1.15
EDGE = 0.5  # pixels that discs are drawn wider, so that fog of tiny ones is seen
DOT = 2.0  # pixels, radius of a centre in the rows of opacity and size
AXES = "xyz"
# Axis to the right, axis upwards (z where it shows), axis that is cut, and the end of it from which one looks.
SLABS = ((0, 1, 2, 1.0), (0, 2, 1, -1.0), (1, 2, 0, 1.0))


@dataclass(frozen=True)
class _Frame:
    """The cube that the panels show."""

    center: Float[Tensor, "3"]
    half_width: float


@dataclass(frozen=True)
class _Slab:
    """The Gaussians of one slab on its panel, the farthest first: pixel positions, radii, and what colours them."""

    gaussians: Gaussians
    position: Float[Tensor, "n 2"]
    radius: Float[Tensor, "n"]
    heading: str


def gaussian_slices(gaussians: Gaussians, *, unit: str = "") -> Picture:
    """Three orthogonal slabs through one scene's Gaussians `[N]`, each 15 % of the shown width thick.

    Rows: discs of the Gaussians' own colour and opacity with the area of their 1-sigma footprint; centres coloured by
    opacity; centres coloured by size (longest axis). Gaussians fainter than one grey level are left out; `unit` names
    the unit of length.
    """
    drawn = gaussians.detach().to("cpu").float()
    drawn = drawn[drawn.opacities >= MIN_OPACITY]
    frame = _frame(drawn)
    slabs = [_slab(drawn, frame, *axes) for axes in SLABS]
    largest = _largest_size(drawn)
    rows = {
        "colour\n(discs:\n1 sigma)": _panels(slabs, lambda slab: _discs(slab, frame, unit)),
        "opacity": _panels(slabs, lambda slab: _dots(slab, slab.gaussians.opacities, HEAT)),
        "size": _panels(slabs, lambda slab: _dots(slab, slab.gaussians.scales.amax(dim=-1) / largest, DEPTH)),
    }
    columns = [Column(slab.heading) for slab in slabs]
    measure = f", {unit}" if unit else ""
    scales = (
        Scale("opacity of each Gaussian", 0.0, 1.0),
        Scale(f"size: longest axis{measure}, 1 sigma", 0.0, largest, DEPTH, open_end=True),
    )
    return np.concatenate([sheet(rows, columns), *(scale_strip(rows, scale) for scale in scales)])


def _frame(gaussians: Gaussians) -> _Frame:
    """The smallest cube about the weighted median that holds most of the opacity."""
    if not len(gaussians.opacities):
        return _Frame(torch.zeros(3), 1.0)
    weights = gaussians.opacities
    center = torch.stack([_quantile(gaussians.means[:, axis], weights, 0.5) for axis in range(3)])
    reach = (gaussians.means - center).abs().amax(dim=-1)
    return _Frame(center, max(float(_quantile(reach, weights, SEEN_SHARE)) * MARGIN, 1e-9))


def _slab(gaussians: Gaussians, frame: _Frame, right: int, up: int, cut: int, side: float) -> _Slab:
    offset = (gaussians.means - frame.center) / frame.half_width
    inside = (offset[:, cut].abs() <= THICKNESS) & (offset[:, (right, up)].abs() <= 1).all(dim=-1)
    chosen = inside.nonzero()[:, 0]
    heading = (
        f"{AXES[right]} right, {AXES[up]} up\n{AXES[cut]} = {frame.center[cut]:.3g} "
        f"± {THICKNESS * frame.half_width:.2g}: {len(chosen)} Gaussians"
    )
    chosen = chosen[(side * offset[chosen, cut]).argsort()]
    part = gaussians[chosen]
    position = torch.stack([offset[chosen, right], -offset[chosen, up]], dim=-1) * PANEL / 2 + PANEL / 2
    radius = _footprint(part, right, up) * PANEL / (2 * frame.half_width)
    return _Slab(part, position, radius, heading)


def _footprint(gaussians: Gaussians, right: int, up: int) -> Float[Tensor, "n"]:
    """Radius of the disc with the area of each Gaussian's 1-sigma ellipse, seen along an axis of the world."""
    spread = matrix_from_quaternion(gaussians.rotations) * gaussians.scales[:, None, :]
    covariance = (spread @ spread.mT)[:, (right, up)][:, :, (right, up)]
    return torch.linalg.det(covariance).clamp_min(0).pow(0.25)


def _panels(slabs: list[_Slab], draw: Callable[[_Slab], Image.Image]) -> Float[Tensor, "3 3 h w"]:
    pictures = [torch.from_numpy(np.array(draw(slab))).permute(2, 0, 1) / 255 for slab in slabs]
    return torch.stack(pictures)


def _discs(slab: _Slab, frame: _Frame, unit: str) -> Image.Image:
    colours = sh.rgb_from_degree_0(slab.gaussians.harmonics[:, 0]).clamp(0, 1)
    paper = _painted(slab, slab.radius + EDGE, colours, slab.gaussians.opacities)
    _ruler(ImageDraw.Draw(paper), frame, unit)
    return paper


def _dots(slab: _Slab, value: Float[Tensor, "n"], stops: Stops) -> Image.Image:
    colours = colour_ramp(value[None, None, None], stops)[0, :, 0].T
    return _painted(slab, torch.full_like(slab.radius, DOT), colours, torch.ones_like(slab.radius))


def _painted(
    slab: _Slab, radius: Float[Tensor, "n"], colours: Float[Tensor, "n 3"], opacities: Float[Tensor, "n"]
) -> Image.Image:
    """Discs at the Gaussians' places on white paper, the farthest first."""
    paper = np.ones((PANEL, PANEL, 3), np.float32)
    paint_discs(paper, *(values.contiguous().numpy() for values in (slab.position, radius, colours, opacities)))
    return Image.fromarray((paper * 255).round().astype(np.uint8))


def _ruler(draw: ImageDraw.ImageDraw, frame: _Frame, unit: str) -> None:
    """A line of a round length in the lower left corner."""
    power = 10.0 ** np.floor(np.log10(frame.half_width))
    length = next(factor * power for factor in (5, 2, 1, 0.5, 0.2) if factor * power <= 0.8 * frame.half_width)
    pixels = length / frame.half_width * PANEL / 2
    y = PANEL - 14
    draw.line((12, y, 12 + pixels, y), fill=INK, width=3)
    draw.text((12, y - 6), f"{length:g} {unit or 'units'}", fill=INK, anchor="lb", font_size=16)


def _largest_size(gaussians: Gaussians) -> float:
    """The size that all but a hundredth of the opacity stays below."""
    if not len(gaussians.opacities):
        return 1.0
    return max(float(_quantile(gaussians.scales.amax(dim=-1), gaussians.opacities, 0.99)), 1e-12)


def _quantile(values: Float[Tensor, "n"], weights: Float[Tensor, "n"], share: float) -> Float[Tensor, ""]:
    """The smallest value up to which at least `share` of the weight lies."""
    order = values.argsort()
    total = weights[order].double().cumsum(0)
    return values[order][(total >= share * total[-1]).nonzero()[0, 0]]
