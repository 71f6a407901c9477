"""Round trips of every format, within what its rounding allows, at every degree."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from export_helpers import FIELDS, covariances, mouse_like, random_gaussians
from helpers import random_cameras

from gslrm import export
from gslrm.errors import UserError
from gslrm.export.scene import spatial_order
from gslrm.render import build_rasterizer
from gslrm.types import Gaussians

# Largest error that the format's rounding explains: means over the object's size, log-scales, opacities, degree 0,
# higher harmonics.
LIMITS = {
    "ply": (1e-6, 3e-6, 1e-6, 1e-6, 1e-6),
    "lgm_ply": (1e-6, 3e-6, 1e-6, 1e-6, None),
    "compressed_ply": (1e-3, 2e-3, 0.5 / 255, 0.02, 4 / 256 + 1e-6),
    "splat": (1e-6, 1e-6, 0.5 / 255, 0.5 / 255 / 0.282 + 1e-6, None),
    "spz": (1e-3, 1 / 32 + 1e-6, 0.5 / 255, 0.5 / 255 / 0.15 + 1e-6, 8.5 / 128 + 1e-6),
    "sog": (1e-4, 0.1, 0.5 / 255, 0.1, 0.4),  # a palette has little to offer to noise
}
LOSSY_ROTATION = {"ply": 1e-5, "lgm_ply": 1e-5, "splat": 0.03}
DROPS_HARMONICS = {"lgm_ply", "splat"}


def written(gaussians: Gaussians, path: Path, name: str) -> Gaussians:
    path = path / f"g{export.FORMATS[name].suffix}"
    export.write_gaussians(gaussians, path)
    return export.read_gaussians(path)


def in_order(gaussians: Gaussians, name: str) -> Gaussians:
    """As the writer of a format puts them."""
    if name == "splat":
        return gaussians[(gaussians.opacities.double() * gaussians.scales.double().prod(1)).argsort(descending=True)]
    return gaussians if name.endswith("ply") and name[0] != "c" else gaussians[spatial_order(gaussians.means)]


@pytest.mark.parametrize("degree", range(4))
@pytest.mark.parametrize("name", export.FORMATS)
def test_what_is_read_differs_by_no_more_than_the_formats_rounding(tmp_path: Path, name: str, degree: int) -> None:
    gaussians = mouse_like(500, degree=degree)
    found, expected = written(gaussians, tmp_path, name), in_order(gaussians, name)
    position, scale, opacity, base, rest = LIMITS[name]
    size = float(gaussians.means.amax() - gaussians.means.amin())
    assert (found.means - expected.means).abs().max() <= position * size
    assert (found.scales / expected.scales).log().abs().max() <= scale
    assert (found.opacities - expected.opacities).abs().max() <= opacity + 1e-6
    assert (found.harmonics[:, 0] - expected.harmonics[:, 0]).abs().max() <= base
    if name in DROPS_HARMONICS:
        assert found.degree == 0
    else:
        assert found.degree == degree
        assert degree == 0 or (found.harmonics[:, 1:] - expected.harmonics[:, 1:]).abs().max() <= rest
    unit = replace(expected, scales=torch.tensor([3.0, 2.0, 1.0]).expand(500, 3))
    turned = replace(unit, rotations=found.rotations)
    assert (covariances(turned) - covariances(unit)).abs().max() <= 8 * LOSSY_ROTATION.get(name, 0.02)


@pytest.mark.parametrize("name", export.FORMATS)
def test_writing_what_was_read_changes_nothing_more(tmp_path: Path, name: str) -> None:
    first = written(mouse_like(300, degree=0), tmp_path, name)
    second = written(first, tmp_path, name)
    order = torch.cdist(first.means.double(), second.means.double()).argmin(dim=1)
    tolerance = {"means": 2e-4 * float(first.means.abs().max()), "opacities": 1e-6}
    for field in ("means", "opacities"):
        left, right = getattr(first, field), getattr(second, field)[order]
        assert (left - right).abs().max() <= tolerance[field]


@pytest.mark.parametrize("count", [0, 1, 255, 256, 257])
@pytest.mark.parametrize("name", export.FORMATS)
def test_any_number_of_gaussians_can_be_written(tmp_path: Path, name: str, count: int) -> None:
    gaussians = mouse_like(count, degree=1)
    path = tmp_path / f"g{export.FORMATS[name].suffix}"
    export.write_gaussians(gaussians, path)
    found = export.FORMATS[name].read(path)
    assert found.means.shape == (count, 3)
    assert not count or (found.means.mean(0) - gaussians.means.mean(0)).abs().max() < 0.1


@pytest.mark.parametrize("name", [name for name in export.FORMATS if name != "lgm_ply"])  # which leaves 0 out
def test_the_extremes_survive(tmp_path: Path, name: str) -> None:
    gaussians = mouse_like(8, degree=3)
    gaussians = replace(
        gaussians,
        opacities=torch.tensor([0.0, 1.0] * 4),
        scales=torch.tensor([0.0, 1e-20, 1e-3, 1.0, 1e3, 1e3, 0.0, 0.0])[:, None].expand(8, 3),
        harmonics=100 * gaussians.harmonics,
    )
    found = written(gaussians, tmp_path, name)
    assert all(torch.isfinite(getattr(found, field)).all() for field in FIELDS)
    order = torch.cdist(gaussians.means, found.means).argmin(dim=1)
    assert (found.opacities[order] - gaussians.opacities).abs().max() < 2e-6


@pytest.mark.parametrize("name", export.FORMATS)
def test_equal_gaussians_give_equal_bytes(tmp_path: Path, name: str) -> None:
    contents = []
    for number in range(2):
        path = tmp_path / f"{number}{export.FORMATS[name].suffix}"
        export.write_gaussians(mouse_like(300, degree=1), path)
        contents.append(path.read_bytes())
    assert contents[0] == contents[1]


@pytest.mark.parametrize("name", export.FORMATS)
def test_the_content_and_not_the_name_tells_the_format(tmp_path: Path, name: str) -> None:
    gaussians = mouse_like(50)
    export.write_gaussians(gaussians, tmp_path / "wrong.spz.ply", name)
    assert export.format_of(tmp_path / "wrong.spz.ply") == {"lgm_ply": "ply"}.get(name, name)
    assert export.read_gaussians(tmp_path / "wrong.spz.ply").means.shape == (50, 3)


def test_the_longest_suffix_that_fits_chooses_the_format() -> None:
    assert export.format_by_suffix("a/b.Compressed.PLY") == "compressed_ply"
    assert export.format_by_suffix("b.lgm.ply") == "lgm_ply"
    assert export.format_by_suffix("b.ply") == "ply"
    with pytest.raises(UserError, match=r"b\.obj.*\.spz"):
        export.format_by_suffix("b.obj")


@pytest.mark.parametrize("name", export.FORMATS)
def test_nan_and_batches_are_refused_by_every_writer(tmp_path: Path, name: str) -> None:
    gaussians = mouse_like(10)
    gaussians.means[3, 1] = torch.nan
    with pytest.raises(ValueError, match="NaN"):
        export.write_gaussians(gaussians, tmp_path / "g", name)
    with pytest.raises(ValueError, match="one scene"):
        export.write_gaussians(mouse_like(10)[None], tmp_path / "g", name)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["compressed_ply", "splat", "spz", "sog"])
def test_compact_formats_are_as_small_as_promised(tmp_path: Path, name: str) -> None:
    """At degree 3, against the .ply with all its harmonics; the colours of mice hardly depend on direction."""
    gaussians = mouse_like(3000, degree=3)
    gaussians.harmonics[:, 1:] *= 0.3
    path = tmp_path / "g"
    export.write_gaussians(gaussians, path, name)
    promised = {"compressed_ply": 3.9, "splat": 7.5, "spz": 6.5, "sog": 7}
    assert 3000 * 248 / path.stat().st_size > promised[name]


@pytest.mark.parametrize("degree", [0, 3])
@pytest.mark.parametrize("name", [name for name in export.FORMATS if name not in DROPS_HARMONICS])
def test_a_picture_of_what_was_read_is_the_picture(tmp_path: Path, name: str, degree: int) -> None:
    gaussians = mouse_like(1500, degree=degree)
    camera = random_cameras(2, size=(96, 96), radius=2.5).float()
    rasterizer = build_rasterizer("cpu", device="cpu")
    pictures = [
        rasterizer(scene[None], camera[None], torch.ones(1, 3)).rgb
        for scene in (gaussians, written(gaussians, tmp_path, name))
    ]
    error = (pictures[0] - pictures[1]).clamp(-1, 1)
    if name == "ply":
        assert error.abs().max() <= 1 / 255
    floor = {"ply": 90, "compressed_ply": 45, "spz": 38, "sog": 38}[name]
    assert -10 * np.log10(float(error.square().mean()) + 1e-12) > floor


@pytest.mark.parametrize("unit", [1e-3, 1.0, 1e3])
def test_spz_keeps_positions_in_any_unit(tmp_path: Path, unit: float) -> None:
    gaussians = mouse_like(200)
    scaled = replace(gaussians, means=unit * gaussians.means, scales=unit * gaussians.scales)
    found, expected = written(scaled, tmp_path, "spz"), in_order(scaled, "spz")
    assert (found.means - expected.means).abs().max() < 0.1 * float(expected.scales.amax(1).median())


def test_spz_refuses_positions_that_no_fixed_point_holds(tmp_path: Path) -> None:
    gaussians = random_gaussians(5)
    gaussians.means[0, 0] = 1e8
    with pytest.raises(ValueError, match="do not fit"):
        export.write_spz(gaussians, tmp_path / "g.spz")


def test_neighbours_in_space_are_neighbours_in_order() -> None:
    means = torch.rand(2000, 3, generator=torch.Generator().manual_seed(0))
    ordered = means[spatial_order(means)]
    assert (ordered[1:] - ordered[:-1]).norm(dim=1).mean() < 0.3 * (means[1:] - means[:-1]).norm(dim=1).mean()
    assert sorted(spatial_order(means).tolist()) == list(range(2000))
