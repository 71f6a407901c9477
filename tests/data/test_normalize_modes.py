"""Every way of placing keeps multi-view geometry exactly, and can be undone exactly; the ablation does not."""

import logging
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from data_helpers import BALL
from helpers import random_rotation, ring, write_ball_sample
from placement_helpers import assert_same_camera, mouse_of, scene, warp_error
from pydantic import ValidationError

from gslrm import config_check
from gslrm.cameras import Cameras
from gslrm.config import DatasetConfig
from gslrm.config_io import config_from_mapping, load_config
from gslrm.data import placed_sample
from gslrm.data.masks import MaskPolicy, read_view
from gslrm.data.normalize import place_object, place_sightings
from gslrm.data.placed_sample import place_sample
from gslrm.data.rig import Lens, RigCamera, directions_world
from gslrm.data.sample import read_sample
from gslrm.data.sightings import Sighting, outline, sight
from gslrm.data.transforms import homography
from gslrm.errors import UserError
from gslrm.similarity import Similarity

ARENA = [50.0, 55.0, 20.0]
MODES = [
    {"crop": "footprint"},
    {"crop": "footprint", "object_size": 1.2, "crop_footprint": 1.4, "normalize_to_z_up": True},
    {"crop": "pretrained", "normalize_to_z_up": True},
    {"crop": "fill"},
    {"crop": "fill", "object_size": 1.2, "center": "arena"},
    {"crop": "pretrained", "center": ARENA},
]
SIZE = 96


class TestScaleAndCentre:
    @pytest.mark.parametrize("mode", [{"crop": "footprint"}, {"crop": "pretrained"}, {"crop": "fill"}], ids=str)
    @pytest.mark.parametrize("center", ["animal", "arena", ARENA], ids=str)
    def test_the_mean_distance_of_the_input_cameras_is_the_target_exactly(self, mode, center):
        placement = place_object(*scene(), size=SIZE, mouse=mouse_of(center=center, **mode))
        distances = [placement.network_camera(camera).position.norm() for camera in scene()[1]]
        assert float(torch.stack(distances).mean()) == pytest.approx(2.7, abs=1e-12)
        assert max(distances) / min(distances) > 1.1  # and each keeps its own

    def test_cameras_without_a_mask_count_for_the_mean_distance_too(self):
        masks, cameras = scene()
        masks[1] = np.zeros_like(masks[1])
        placement = place_object(masks, cameras, size=SIZE, mouse=mouse_of())
        distances = torch.stack([placement.network_camera(camera).position.norm() for camera in cameras])
        assert float(distances.mean()) == pytest.approx(2.7, abs=1e-12)

    def test_the_arena_is_where_the_optical_axes_meet(self):
        masks, cameras = scene()
        placement = place_object(masks, cameras, size=SIZE, mouse=mouse_of(center="arena"))
        expected = torch.tensor([48.0, 52.0, 45.0], dtype=torch.float64)  # what `ring` looks at
        torch.testing.assert_close(placement.center, expected, atol=1e-9, rtol=0)
        assert placement.world_from_source.apply(expected).norm() < 1e-12

    def test_a_given_centre_becomes_the_origin_and_the_middle_of_every_crop(self):
        masks, cameras = scene()
        placement = place_object(masks, cameras, size=SIZE, mouse=mouse_of(center=ARENA, crop="pretrained"))
        point = torch.tensor([[ARENA]], dtype=torch.float64)
        assert placement.world_from_source.apply(point).norm() < 1e-12
        for camera in cameras:
            pixel, _ = placement.crop_camera(camera)[None].project(point)
            torch.testing.assert_close(pixel[0, 0], torch.full((2,), SIZE / 2, dtype=torch.float64))

    def test_a_fixed_centre_needs_no_masks(self):
        masks, cameras = scene()
        empty = [np.zeros_like(mask) for mask in masks]
        for center in ("arena", ARENA):
            mouse = mouse_of(center=center, crop="pretrained")
            first, second = (place_object(given, cameras, size=SIZE, mouse=mouse) for given in (masks, empty))
            assert torch.equal(first.center, second.center)
        with pytest.raises(UserError, match="crop: fill needs a mask in at least one input view"):
            place_object(empty, cameras, size=SIZE, mouse=mouse_of(center="arena", crop="fill"))

    def test_a_centre_in_another_unit_is_refused_because_no_camera_sees_it(self):
        with pytest.raises(UserError, match="not in front of camera .* in another unit"):
            place_object(*scene(), size=SIZE, mouse=mouse_of(center=[50000.0, 0.0, 0.0]))

    @pytest.mark.parametrize("center", ["middle", [1.0, 2.0], [1.0, 2.0, 3.0, 4.0], 5.0], ids=str)
    def test_what_is_no_centre_is_refused_by_key(self, center):
        with pytest.raises(UserError, match=r"mouse\.center"):
            config_from_mapping({"mouse": {"center": center}}, source="test")
        assert config_from_mapping({}, source="test", overrides=("mouse.center=[51, 56, 17.5]",)).mouse.center == [
            51.0,
            56.0,
            17.5,
        ]

    def test_up_is_plus_z_in_every_mode(self):
        masks, cameras = scene()
        tilt = Similarity(torch.tensor(0.01, dtype=torch.float64), random_rotation(5), torch.ones(3).double())
        tilted = [camera.transform(tilt) for camera in cameras]
        for crop in ("footprint", "pretrained", "fill"):
            placement = place_object(masks, tilted, size=SIZE, mouse=mouse_of(crop=crop, normalize_to_z_up=True))
            up = placement.world_from_source.rotation @ tilt.rotation[:, 2]
            torch.testing.assert_close(up, torch.tensor([0.0, 0, 1]).double(), atol=2e-2, rtol=0)


class TestCrops:
    @pytest.mark.parametrize("size", [256, 512])
    def test_pretrained_crops_have_the_published_intrinsics(self, size):
        masks, cameras = scene()
        placement = place_object(masks, cameras, size=size, mouse=mouse_of(crop="pretrained"))
        for camera in cameras:
            placed = placement.network_camera(camera)
            assert placed.focal.tolist() == [548.9937744140625 * size / 512] * 2
            assert placed.center.tolist() == [size / 2] * 2
            assert (placed.width, placed.height) == (size, size)

    @pytest.mark.parametrize("name", ["mouse_gslrm_local_rtx3060", "facelift_gslrm"])
    def test_configurations_for_the_published_weights_ask_for_their_cameras(self, name):
        config = load_config(Path(__file__).parents[2] / f"configs/{name}.yaml")
        masks, cameras = scene()
        size = config.model.image_tokenizer.image_size
        placed = [place_object(masks, cameras, size=size, mouse=config.mouse).network_camera(c) for c in cameras]
        assert {tuple(camera.focal.tolist()) for camera in placed} == {(548.9937744140625 * size / 512,) * 2}
        assert float(torch.stack([camera.position.norm() for camera in placed]).mean()) == pytest.approx(2.7, abs=1e-12)

    @pytest.mark.parametrize("margin", [0.0, 0.05, 0.2])
    def test_filling_crops_hold_every_outline_and_the_largest_touches_the_margin(self, margin):
        masks, cameras = scene()
        placement = place_object(masks, cameras, size=SIZE, mouse=mouse_of(crop="fill", crop_margin=margin))
        free = []
        for mask, camera in zip(masks, cameras, strict=True):
            crop = placement.crop_camera(camera)
            pixel = torch.from_numpy(outline(mask))
            pixel = torch.cat([pixel, torch.ones_like(pixel[:, :1])], 1) @ torch.from_numpy(homography(crop, camera)).mT
            pixel = pixel[:, :2] / pixel[:, 2:] / SIZE
            free.append(min(float(pixel.min()), float(1 - pixel.max())))
        assert min(free) == pytest.approx(margin, abs=1e-9)

    def test_filling_crops_share_one_focal_length_and_equal_footprints_do_not(self):
        masks, cameras = scene()
        for crop, shared in (("fill", True), ("pretrained", True), ("footprint", False)):
            placement = place_object(masks, cameras, size=SIZE, mouse=mouse_of(crop=crop))
            focal = {round(float(v), 9) for camera in cameras for v in placement.network_camera(camera).focal}
            assert (len(focal) == 1) == shared

    @pytest.mark.parametrize("mode", MODES, ids=str)
    def test_the_footprint_in_the_world_is_what_crops_cover_at_the_origin(self, mode):
        masks, cameras = scene()
        placement = place_object(masks, cameras, size=SIZE, mouse=mouse_of(**mode))
        placed = [placement.network_camera(camera) for camera in cameras]
        pixels_per_unit = sum(float(camera.focal[0] / camera.position.norm()) for camera in placed) / len(placed)
        assert placement.world_footprint == pytest.approx(SIZE / pixels_per_unit, rel=1e-9)
        ratios = [placement.resolution_ratio(placement.crop_camera(camera)) for camera in cameras]
        assert sum(ratios) / len(ratios) == pytest.approx(1, rel=1e-9)


class TestGeometry:
    @pytest.mark.parametrize("mode", MODES, ids=str)
    def test_world_points_appear_where_the_warp_puts_their_pixels(self, mode):
        """No pixel moves against the rays: the crop's camera projects to exactly where the homography maps."""
        masks, cameras = scene()
        placement = place_object(masks, cameras, size=SIZE, mouse=mouse_of(**mode))
        assert max(warp_error(placement, cameras)) < 1e-9

    def test_moving_each_camera_breaks_what_one_similarity_keeps(self):
        masks, cameras = scene()
        placement = place_object(masks, cameras, size=SIZE, mouse=mouse_of(camera_distance="each_ablation"))
        assert max(warp_error(placement, cameras)) > 1

    @pytest.mark.parametrize("mode", MODES, ids=str)
    def test_un_normalising_returns_the_cameras(self, mode):
        masks, cameras = scene()
        placement = place_object(masks, cameras, size=SIZE, mouse=mouse_of(**mode))
        for camera in cameras:
            assert_same_camera(placement.to_source(placement.to_world(camera)), camera)
            assert_same_camera(placement.to_source(placement.network_camera(camera)), placement.crop_camera(camera))

    def test_raw_pictures_with_a_lens_are_placed_like_undistorted_ones(self):
        """The same rig once as pinhole cameras and once with distortion and skew: outlines become the same rays."""
        masks, cameras = scene(size=400)
        raw = [raw_sighting(camera) for camera in cameras]
        for mode in MODES:
            expected = place_object(masks, cameras, size=SIZE, mouse=mouse_of(**mode))
            found = place_sightings(raw, size=SIZE, mouse=mouse_of(**mode))
            assert (found.center - expected.center).norm() < 0.15  # of a ball of 30
            for camera in cameras:
                focal = [placement.network_camera(camera).focal for placement in (found, expected)]
                torch.testing.assert_close(focal[0], focal[1], rtol=0.01, atol=0)
        forgetful = place_sightings([raw_sighting(c, forget=True) for c in cameras], size=SIZE, mouse=mouse_of())
        found = place_sightings(raw, size=SIZE, mouse=mouse_of())
        assert (forgetful.center - found.center).norm() > 0.3  # the tolerance above tells the two apart

    def test_masks_and_their_sightings_give_the_same_placement(self):
        masks, cameras = scene()
        sightings = [sight(mask, camera) for mask, camera in zip(masks, cameras, strict=True)]
        first = place_sightings(sightings, size=SIZE, mouse=mouse_of())
        second = place_object(masks, cameras, size=SIZE, mouse=mouse_of())
        assert torch.equal(first.center, second.center) and first.footprint == second.footprint


class TestEachCameraAtOneDistance:
    def test_it_is_refused_with_the_reason(self):
        with pytest.raises(UserError, match=r"mouse\.camera_distance: refused: .*destroys multi-view geometry"):
            config_from_mapping({"mouse": {"camera_distance": "each"}}, source="test")

    def test_the_ablation_moves_each_camera_and_keeps_rotation_and_intrinsics(self):
        masks, cameras = scene()
        straight = place_object(masks, cameras, size=SIZE, mouse=mouse_of(crop="pretrained"))
        moved = place_object(
            masks, cameras, size=SIZE, mouse=mouse_of(crop="pretrained", camera_distance="each_ablation")
        )
        for camera in cameras:
            expected, found = straight.network_camera(camera), moved.network_camera(camera)
            assert float(found.position.norm()) == pytest.approx(2.7, abs=1e-12)
            assert torch.equal(found.world_from_camera[:3, :3], expected.world_from_camera[:3, :3])
            assert torch.equal(found.focal, expected.focal) and torch.equal(found.center, expected.center)
            assert_same_camera(
                moved.to_world(camera), straight.to_world(camera)
            )  # truth is told by the similarity alone

    def test_the_ablation_is_told_of_when_it_is_configured_and_nothing_else_is(self, caplog):
        config_check._tell_once.cache_clear()
        with caplog.at_level(logging.WARNING):
            config_from_mapping({"mouse": {"camera_distance": "mean"}}, source="test")
            assert not caplog.records
            for _ in range(2):
                config_from_mapping({"mouse": {"camera_distance": "each_ablation"}}, source="test")
        (record,) = caplog.records
        assert record.levelname == "WARNING" and "wrong on purpose" in record.getMessage()

    @pytest.mark.parametrize("wrong", [{"crop": "pretrained"}, {"camera_distance": "each_ablation"}], ids=str)
    def test_a_scale_by_the_object_contradicts_a_fixed_distance(self, wrong):
        with pytest.raises(ValidationError, match="object_size: null"):
            mouse_of(object_size=1.2, **wrong)


class TestCutObjects:
    @pytest.fixture(autouse=True)
    def _untold(self, monkeypatch):
        monkeypatch.setattr(placed_sample, "_told", set())

    def place(self, directory: Path) -> None:
        place_sample(
            read_sample(directory),
            (0, 1, 2),
            dataset=DatasetConfig(),
            mouse=mouse_of(),
            size=32,
            background=torch.ones(3),
        )

    def test_a_mask_that_touches_the_border_is_told_once_with_sample_and_view(self, tmp_path, caplog):
        directory = write_ball_sample(tmp_path / "mouse_17", ring(3, size=64), center=(50.0, 55.0, 5.0), radius=90.0)
        with caplog.at_level(logging.WARNING):
            self.place(directory)
            self.place(directory)
        (record,) = caplog.records
        assert "mouse_17" in record.getMessage() and "view 0" in record.getMessage()

    def test_a_whole_object_is_no_reason_to_warn(self, tmp_path, caplog):
        with caplog.at_level(logging.WARNING):
            self.place(write_ball_sample(tmp_path / "s", ring(3, size=64)))
        assert not caplog.records


def raw_sighting(camera: Cameras, forget: bool = False) -> Sighting:
    """What a camera with a lens sees of a ball, from its raw mask; `forget` takes the raw pixels for ideal ones."""
    ball, lens = torch.tensor(BALL, dtype=torch.float64), Lens((-0.35, 0.2, 0.01, -0.008, -0.1))
    intrinsics = camera.intrinsics.numpy().copy()
    intrinsics[0, 1] = -12.0
    w2c = camera.camera_from_world.numpy()
    raw = RigCamera("raw", intrinsics, w2c, lens, camera.width, camera.height)
    rays = raw.rays(camera.pixel_grid().numpy().reshape(-1, 2)) @ w2c[:3, :3]
    offset = (ball - camera.position).numpy()
    miss = np.linalg.norm(offset - (rays @ offset)[:, None] * rays, axis=1)
    mask = (miss < 30.0).reshape(camera.height, camera.width).astype(np.float32)
    assert 0.01 < mask.mean() < 0.5
    if forget:
        return sight(mask, camera)
    return Sighting(camera.world_from_camera, directions_world(raw, outline(mask)))


@pytest.mark.skipif("MOUSE_EVAL" not in os.environ, reason="MOUSE_EVAL does not name the evaluation mice")
class TestEvaluationMice:
    """The same laws on mice that are no balls; the variable names a directory of prepared samples."""

    @pytest.mark.parametrize("mode", MODES, ids=str)
    def test_normalising_is_exact_and_can_be_undone(self, mode):
        for directory in sorted(Path(os.environ["MOUSE_EVAL"]).glob("sample_*"))[:3]:
            views = read_sample(directory).views
            cameras = [view.camera for view in views]
            masks = [read_view(view, MaskPolicy())[..., 3] for view in views[:6]]
            placement = place_object(masks, cameras[:6], size=256, mouse=mouse_of(**mode))
            assert max(warp_error(placement, cameras)) < 1e-8
            for camera in cameras:
                assert_same_camera(placement.to_source(placement.to_world(camera)), camera)
