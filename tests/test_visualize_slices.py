"""Cuts through Gaussians show what lies in the slab, where it lies, in its colour."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from helpers import random_gaussians, random_rotation

from gslrm import harmonics as sh
from gslrm.similarity import Similarity
from gslrm.tensor_struct import concatenate
from gslrm.types import Gaussians, quaternion_from_matrix
from gslrm.visualize import gaussian_slices, slices
from gslrm.visualize.discs import MIN_RADIUS, paint_discs
from gslrm.visualize.sheet import GAP


def points(*rows: tuple[tuple[float, float, float], tuple[float, float, float], float]) -> Gaussians:
    """Small round Gaussians: place, colour, opacity; black ones on the axes hold the middle and the half width of 1."""
    middle = [((0.0, 0.0, 0.0), (0, 0, 0), 1.0)] * 20
    ends = [(tuple(side * (axis == i) for i in range(3)), (0, 0, 0), 1.0) for axis in range(3) for side in (-1.0, 1.0)]
    means, colours, opacities = zip(*rows, *middle, *ends, strict=True)
    count = len(means)
    return Gaussians(
        means=torch.tensor(means, dtype=torch.float32),
        scales=torch.full((count, 3), 0.04),
        rotations=torch.tensor([1.0, 0, 0, 0]).expand(count, 4),
        opacities=torch.tensor(opacities),
        harmonics=sh.degree_0_from_rgb(torch.tensor(colours, dtype=torch.float32))[:, None],
    )


def panels(picture: np.ndarray) -> np.ndarray:
    """The cells of the three rows [3, 3, p, p, 3], found by where the sheet has to have them."""
    size, pitch = slices.PANEL, slices.PANEL + GAP
    white = (picture == 255).all(axis=-1)
    top, left = np.argwhere(white[:, :] & np.roll(white, -40, 0) & np.roll(white, -40, 1))[0]
    rows = [[picture[top + r * pitch :, left + c * pitch :][:size, :size] for c in range(3)] for r in range(3)]
    return np.array(rows)


def at(panel: np.ndarray, right: float, up: float) -> list[int]:
    """The colour of a panel at a place."""
    pixels = slices.PANEL / 2 / slices.MARGIN
    return panel[round(slices.PANEL / 2 - up * pixels), round(slices.PANEL / 2 + right * pixels)].tolist()


def test_every_panel_shows_the_gaussian_at_its_place_and_only_where_its_slab_cuts() -> None:
    x, y, z = 0.5, -0.1, 0.15
    shown = panels(gaussian_slices(points(((x, y, z), (1.0, 0.0, 0.0), 1.0))))[0]
    red, white = [255, 0, 0], [255, 255, 255]
    assert at(shown[0], x, y) == red and at(shown[1], x, z) == red
    assert at(shown[2], y, z) == white  # x = 0.5 is outside of that slab
    assert at(shown[0], x, -y) == white and at(shown[1], x, -z) == white


def test_what_is_nearer_covers_what_is_behind() -> None:
    low, high = ((0.5, 0.0, -0.1), (0.0, 1.0, 0.0), 1.0), ((0.5, 0.0, 0.1), (0.0, 0.0, 1.0), 1.0)
    front, back = ((0.0, -0.1, 0.5), (1.0, 0.0, 0.0), 1.0), ((0.0, 0.1, 0.5), (0.0, 1.0, 1.0), 1.0)
    side, far = ((0.1, 0.5, -0.5), (1.0, 1.0, 0.0), 1.0), ((-0.1, 0.5, -0.5), (1.0, 0.0, 1.0), 1.0)
    for order in ((low, high, front, back, side, far), (far, side, back, front, high, low)):
        shown = panels(gaussian_slices(points(*order)))[0]
        assert at(shown[0], 0.5, 0.0) == [0, 0, 255]  # from above
        assert at(shown[1], 0.0, 0.5) == [255, 0, 0]  # from negative y, where x points to the right and z up
        assert at(shown[2], 0.5, -0.5) == [255, 255, 0]  # from positive x


def test_opacity_and_size_colour_the_centres() -> None:
    gaussians = points(((0.5, 0.0, 0.0), (0, 0, 0), 1.0), ((-0.5, 0.0, 0.0), (0, 0, 0), 0.01))
    opacity = panels(gaussian_slices(gaussians))[1][0]
    assert at(opacity, 0.5, 0.0) == [255, 0, 0]
    assert at(opacity, -0.5, 0.0)[2] > 240
    gaussians.scales[0] *= 3
    size = panels(gaussian_slices(gaussians))[2][0]
    assert sum(at(size, 0.5, 0.0)) > sum(at(size, -0.5, 0.0)) + 200


@pytest.mark.parametrize("seed", [0, 1])
def test_the_panels_do_not_depend_on_the_unit_or_the_origin(seed: int) -> None:
    gaussians = random_gaussians(60, seed=seed, dtype=torch.float32)
    shift = torch.tensor([256.0, -128.0, 64.0], dtype=torch.float64)
    moved = gaussians.transform(Similarity(torch.tensor(512.0).double(), torch.eye(3).double(), shift))
    plain, other = panels(gaussian_slices(gaussians)), panels(gaussian_slices(moved))
    ruler = slices.PANEL - 50
    assert (plain[:, :, :ruler] != other[:, :, :ruler]).any(axis=-1).mean() < 2e-3  # rounding of single edges


def test_a_far_floater_does_not_shrink_the_rest() -> None:
    body = points()
    floater = points(((500.0, 0.0, 0.0), (0, 0, 0), 0.1))[:1]
    both = concatenate([body, floater])
    assert slices._frame(both).half_width < 1.5 * slices._frame(body).half_width


def test_the_footprint_is_the_area_of_the_projected_ellipse() -> None:
    gaussians = points(((0.0, 0.0, 0.0), (0, 0, 0), 1.0))[:1]
    turn = random_rotation(3)
    scales = torch.tensor([[0.1, 0.2, 0.4]])
    gaussians = replace(gaussians, scales=scales, rotations=quaternion_from_matrix(turn)[None].float())
    samples = torch.randn(200_000, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64) * scales
    projected = (samples @ turn.mT)[:, (0, 2)]
    area = math.sqrt(torch.linalg.det(torch.cov(projected.T)))
    assert float(slices._footprint(gaussians, 0, 2)) ** 2 == pytest.approx(area, rel=0.02)


def test_discs_blend_in_their_order_over_the_pixels_whose_centres_they_cover() -> None:
    rng = np.random.default_rng(0)
    position, radius = rng.uniform(-3, 23, (40, 2)), rng.uniform(0, 5, 40)
    colour, opacity = rng.uniform(size=(40, 3)), rng.uniform(size=40)
    paper = np.ones((20, 20, 3))
    paint_discs(paper, position, radius, colour, opacity)
    expected = np.ones((20, 20, 3))
    rows, columns = np.mgrid[:20, :20] + 0.5
    for disc in range(40):
        reach = max(radius[disc], MIN_RADIUS)
        inside = (columns - position[disc, 0]) ** 2 + (rows - position[disc, 1]) ** 2 <= reach**2
        expected[inside] += opacity[disc] * (colour[disc] - expected[inside])
    np.testing.assert_allclose(paper, expected, atol=1e-12)


def test_no_disc_is_too_small_to_be_seen() -> None:
    rng = np.random.default_rng(1)
    for position in rng.uniform(0, 8, (50, 1, 2)):
        paper = np.ones((8, 8, 3))
        paint_discs(paper, position, np.zeros(1), np.zeros((1, 3)), np.full(1, 0.01))
        assert 1 <= (paper < 1).all(axis=-1).sum() <= 2


def test_fog_of_many_faint_gaussians_is_seen_beside_few_opaque_ones() -> None:
    fog = points(*[((0.5, 0.0, 0.0), (0, 0, 0), 0.005)] * 2000)
    clear = points(((0.5, 0.0, 0.0), (0, 0, 0), 0.005))
    assert at(panels(gaussian_slices(fog))[0][0], 0.5, 0.0) == [0, 0, 0]
    assert min(at(panels(gaussian_slices(clear))[0][0], 0.5, 0.0)) > 250


def test_nothing_to_draw_gives_empty_panels() -> None:
    faint = points()
    faint = replace(faint, opacities=0 * faint.opacities)
    assert (panels(gaussian_slices(faint))[1:] == 255).all()
