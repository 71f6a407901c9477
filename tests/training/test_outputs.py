"""What inference writes beside the Gaussians."""

import json
from dataclasses import replace

import pytest
import torch
from helpers import ring, write_ball_sample
from PIL import Image

from gslrm.config import InferenceConfig
from gslrm.config_io import config_from_mapping
from gslrm.data.sample import read_sample
from gslrm.model import build_model
from gslrm.reconstruct import build_reconstructor
from gslrm.training.outputs import write_outputs
from gslrm.training.turntable import draw_turntable, turntable_circle

CONFIG = {
    "model": {
        "image_tokenizer": {"image_size": 16, "patch_size": 8},
        "transformer": {"d": 32, "d_head": 16, "n_layer": 1},
        "gaussians": {"scale_bias": -3.0, "opacity_bias": 1.0},
    },
    "training": {
        "runtime": {"use_amp": False, "device": "cpu"},
        "dataset": {"num_views": 6, "num_input_views": 4},
    },
    "inference": {"turntable_frames": 6, "turntable_size": 32},
    "mouse": {"use_mouse_dataset": True, "normalize_cameras": True, "object_size": 1.2, "crop_footprint": 1.5},
}


@pytest.fixture(scope="module")
def reconstruction(tmp_path_factory):
    sample = read_sample(write_ball_sample(tmp_path_factory.mktemp("data") / "sample", ring(6, size=48)))
    torch.manual_seed(0)
    config = config_from_mapping(CONFIG, source="test")
    reconstructor = build_reconstructor(build_model(config.model), config)
    return reconstructor, reconstructor.reconstruct(reconstructor.place(sample, (0, 1, 2, 3)))


def test_the_turntable_has_a_frame_per_camera_and_tells_how_it_changes(reconstruction):
    turntable = draw_turntable(*reconstruction)
    assert [frame.shape for frame in turntable.frames] == [(32, 32, 3)] * 6
    assert any((frame != turntable.frames[0]).any() for frame in turntable.frames[1:])
    assert len(turntable.figures["relative"]) == 6 and len(turntable.figures["views"]) == 4


@pytest.mark.parametrize("frames", [1, 2, 7, 90])
@pytest.mark.parametrize("up", ["rig", "z", "-y"])
def test_the_turntable_goes_around_the_object_at_equal_speed_as_far_away_as_the_cameras(reconstruction, frames, up):
    options = InferenceConfig(turntable_frames=frames, turntable_up=up)
    circle = turntable_circle(options, reconstruction[1])
    position = circle.cameras(frames, 32).position - reconstruction[1].center
    inputs = torch.stack([view.camera.position for view in reconstruction[1].placed.sample.select((0, 1, 2, 3))])
    distance = (inputs - reconstruction[1].center).norm(dim=1).mean()
    torch.testing.assert_close(position.norm(dim=1), distance.expand(frames))
    torch.testing.assert_close(position @ circle.up, (position @ circle.up)[:1].expand(frames))
    steps = (position - position.roll(-1, 0)).norm(dim=1)  # the last one leads back to the first frame
    torch.testing.assert_close(steps, steps[:1].expand(frames))
    assert len(position.round(decimals=6).unique(dim=0)) == frames
    axes = {"rig": (0, 0, 1), "z": (0, 0, 1), "-y": (0, -1, 0)}
    torch.testing.assert_close(circle.up, torch.tensor(axes[up], dtype=torch.float64), atol=1e-6, rtol=0)


def test_a_floater_does_not_make_the_object_small_on_the_turntable(reconstruction):
    reconstructor, found = reconstruction
    far = found.gaussians.map(torch.clone)
    far.means[: len(far.means) // 10] += 50
    radius = turntable_circle(InferenceConfig(), replace(found, gaussians=far)).radius
    assert radius <= 1.01 * found.placed.placement.world_footprint / 2 / float(
        found.placed.placement.world_from_source.scale
    )


def test_nothing_to_see_still_has_a_turntable(reconstruction):
    reconstructor, found = reconstruction
    clear = replace(found.gaussians, opacities=torch.zeros_like(found.gaussians.opacities))
    turntable = draw_turntable(reconstructor, replace(found, gaussians=clear))
    assert all((frame == 255).all() for frame in turntable.frames) and turntable.figures["spike"] is None


@pytest.mark.parametrize("wanted", [None, (5, 1), ()])
def test_pictures_are_written_for_the_views_asked_for(reconstruction, tmp_path, wanted):
    write_outputs(tmp_path, *reconstruction, wanted, video=wanted is None)
    written = {path.name for path in tmp_path.iterdir()}
    expected = {"gaussians.ply", "gaussians.png"}
    expected |= {f"turntable.{ending}" for ending in ("mp4", "png", "json", "html")} if wanted is None else set()
    expected |= {"depth_alpha.png", "overview.png", "metrics.json", "renders"} if wanted != () else set()
    assert written == expected
    if wanted != ():
        views = range(6) if wanted is None else wanted
        assert set(json.loads((tmp_path / "metrics.json").read_text())["views"]) == {str(view) for view in views}
        widths = [Image.open(tmp_path / name).width for name in ("depth_alpha.png", "overview.png")]
        assert min(widths) > 160 * len(list(views))
