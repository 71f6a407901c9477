"""Placements of a recording: one scale, one set of axes, centres that move as the animal does."""

from dataclasses import replace
from functools import partial

import pytest
import torch
from helpers import random_rotation, ring, write_ball_sample

from gslrm.config import MouseConfig
from gslrm.config.data import DatasetConfig
from gslrm.data.placed_sample import place_sample
from gslrm.data.placement import Placement
from gslrm.data.sample import read_sample
from gslrm.motion.placements import rebased, smooth_placements
from gslrm.similarity import Similarity

COUNT = 20
TIMES = [index / 100 for index in range(COUNT)]
VELOCITY = torch.tensor([120.0, -40.0, 3.0], dtype=torch.float64)
REACH = 5
CROPS = ("footprint", "focal")


def recording(crop: str, jitter: float, seed: int = 0) -> list[Placement]:
    """Placements of an animal at constant velocity, whose scale, centre, axes, focal length jump by `jitter`."""
    generator = torch.Generator().manual_seed(seed)
    draw = lambda *shape: jitter * torch.randn(*shape, generator=generator, dtype=torch.float64)  # noqa: E731
    found = []
    for time in TIMES:
        center = torch.tensor([50.0, 60.0, 20.0], dtype=torch.float64) + time * VELOCITY + 2 * draw(3)
        scale = 0.012 * (1 + 0.1 * draw(1)[0])
        tilt = torch.linalg.matrix_exp(0.02 * draw(1)[0] * torch.tensor([[0.0, -1, 0], [1, 0, 0], [0, 0, 0]]).double())
        similarity = Similarity.about(center, scale=scale, rotation=tilt)
        if crop == "footprint":
            footprint = float(1.4 / scale)
            found.append(Placement(similarity, 64, center, density=64 / footprint, footprint=footprint))
        else:
            focal = 140.0 * float(1 + 0.1 * draw(1)[0])
            found.append(Placement(similarity, 64, center, density=focal / 300, focal=focal))
    return found


@pytest.mark.parametrize("crop", CROPS)
def test_even_motion_is_left_as_it_is(crop):
    before = recording(crop, 0.0)
    for ours, theirs in zip(smooth_placements(before, TIMES, reach=REACH), before, strict=True):
        torch.testing.assert_close(ours.center, theirs.center, atol=1e-9, rtol=0)
        torch.testing.assert_close(ours.world_from_source.matrix(), theirs.world_from_source.matrix())
        assert (ours.footprint, ours.focal) == (pytest.approx(theirs.footprint), pytest.approx(theirs.focal))
        assert ours.density == pytest.approx(theirs.density)


@pytest.mark.parametrize("crop", CROPS)
def test_scale_axes_and_crops_are_shared_and_centres_are_steadier(crop):
    rough = recording(crop, 1.0)
    smooth = smooth_placements(rough, TIMES, reach=REACH)
    assert len({float(item.world_from_source.scale) for item in smooth}) == 1
    assert float(smooth[0].world_from_source.scale) == pytest.approx(0.012, rel=0.05)
    for item in smooth[1:]:
        torch.testing.assert_close(item.world_from_source.rotation, smooth[0].world_from_source.rotation)
    right = torch.stack([item.center for item in recording(crop, 0.0)])
    error = lambda items: float((torch.stack([item.center for item in items]) - right).norm())  # noqa: E731
    assert error(smooth) < 0.6 * error(rough)
    for ours, theirs in zip(smooth, rough, strict=True):
        torch.testing.assert_close(
            ours.world_from_source.apply(ours.center), torch.zeros(3).double(), atol=1e-9, rtol=0
        )
        if crop == "footprint":
            assert ours.world_footprint == pytest.approx(theirs.world_footprint)
        else:
            assert ours.focal == min(item.focal for item in rough)
            assert ours.density / theirs.density == pytest.approx(ours.focal / theirs.focal)


def test_a_sample_placed_elsewhere_shows_the_same_object_by_exact_rays(tmp_path):
    sample = read_sample(write_ball_sample(tmp_path / "sample", ring(4, size=96), radius=20.0))
    mouse = MouseConfig(use_mouse_dataset=True, normalize_cameras=True, object_size=1.0, crop_footprint=1.5)
    given = partial(
        place_sample, sample, (0, 1, 2), dataset=DatasetConfig(), mouse=mouse, size=64, background=torch.ones(3)
    )
    placed = given()
    shift = torch.tensor([4.0, -3.0, 2.0], dtype=torch.float64)
    moved = replace(placed.placement, center=placed.placement.center + shift)
    (other,) = smooth_placements([moved], [0.0], reach=REACH)
    again = given(placement=other)
    assert again.placement is other and again.input.images.shape == placed.input.images.shape
    center = torch.tensor([70.0, 40.0, 20.0], dtype=torch.float64)
    seen = other.world_from_source.apply(center)
    pixel, _ = again.input.cameras.to(torch.float64).project(seen.expand(3, 1, 3))
    for index in range(3):
        rows, columns = (again.input.masks[index, 0] > 0.5).nonzero().double().mean(dim=0) + 0.5
        torch.testing.assert_close(torch.stack([columns, rows]), pixel[index, 0], atol=0.6, rtol=0)
    assert torch.equal(given(placement=placed.placement).input.images, placed.input.images)


@pytest.mark.parametrize("crop", CROPS)
def test_a_placement_for_another_world_shows_the_same_pictures_of_the_same_cameras(crop):
    placement, camera = recording(crop, 1.0)[3], ring(3)[1]
    scale, translation = torch.tensor(0.03).double(), torch.tensor([1.0, -2.0, 0.5]).double()
    other = Similarity(scale, random_rotation(4), translation)
    there, moved = rebased(placement, other), camera.transform(other)
    for name in ("world_from_camera", "focal", "center"):
        torch.testing.assert_close(
            getattr(there.network_camera(moved), name), getattr(placement.network_camera(camera), name)
        )
    assert there.resolution_ratio(moved) == pytest.approx(placement.resolution_ratio(camera))
    torch.testing.assert_close(rebased(there, other.inverse()).center, placement.center)


def test_as_many_times_as_placements_are_asked_for():
    with pytest.raises(ValueError, match="20 placements with 2 times"):
        smooth_placements(recording("footprint", 0.0), [0.0, 1.0], reach=REACH)
