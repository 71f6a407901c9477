"""What inference writes beside the Gaussians."""

import json

import pytest
import torch
from helpers import ring, write_ball_sample
from PIL import Image

from gslrm.config import InferenceConfig
from gslrm.config_io import config_from_mapping
from gslrm.data.sample import read_sample
from gslrm.model import build_model
from gslrm.reconstruct import build_reconstructor
from gslrm.training.outputs import turntable, turntable_cameras, write_outputs

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


@pytest.mark.parametrize("frames", [1, 2, 7, 90, 150])
def test_the_turntable_turns_at_equal_speed_and_closes_without_a_frame_twice(frames):
    cameras = turntable_cameras(InferenceConfig(turntable_frames=frames), 1.4)
    position = cameras.position
    azimuth = torch.atan2(position[:, 1], position[:, 0])
    steps = torch.cat([azimuth[1:], azimuth[:1]]) - azimuth  # the last one leads back to the first frame
    steps = steps.remainder(2 * torch.pi) if frames > 1 else steps + 2 * torch.pi
    torch.testing.assert_close(steps, torch.full_like(steps, 2 * torch.pi / frames), atol=1e-9, rtol=0)
    assert len(position.round(decimals=6).unique(dim=0)) == frames
    torch.testing.assert_close(position.norm(dim=-1), position[:1].norm(dim=-1).expand(frames))
    torch.testing.assert_close(position[:, 2], position[:1, 2].expand(frames))
    looked_at = position + position.norm(dim=-1, keepdim=True) * cameras.world_from_camera[:, :3, 2]
    torch.testing.assert_close(looked_at, torch.zeros_like(looked_at), atol=1e-9, rtol=0)


@pytest.fixture(scope="module")
def reconstruction(tmp_path_factory):
    sample = read_sample(write_ball_sample(tmp_path_factory.mktemp("data") / "sample", ring(6, size=48)))
    torch.manual_seed(0)
    config = config_from_mapping(CONFIG, source="test")
    reconstructor = build_reconstructor(build_model(config.model), config)
    return reconstructor, reconstructor.reconstruct(reconstructor.place(sample, (0, 1, 2, 3)))


def test_the_turntable_has_a_frame_per_camera(reconstruction):
    frames = list(turntable(*reconstruction))
    assert [frame.shape for frame in frames] == [(32, 32, 3)] * 6
    assert any((frame != frames[0]).any() for frame in frames[1:])


@pytest.mark.parametrize("wanted", [None, (5, 1), ()])
def test_pictures_are_written_for_the_views_asked_for(reconstruction, tmp_path, wanted):
    write_outputs(tmp_path, *reconstruction, wanted, video=wanted is None)
    written = {path.name for path in tmp_path.iterdir()}
    expected = {"gaussians.ply", "gaussians.png"}
    expected |= {"turntable.mp4", "turntable.png"} if wanted is None else set()
    expected |= {"depth_alpha.png", "overview.png", "metrics.json", "renders"} if wanted != () else set()
    assert written == expected
    if wanted != ():
        views = range(6) if wanted is None else wanted
        assert set(json.loads((tmp_path / "metrics.json").read_text())["views"]) == {str(view) for view in views}
        widths = [Image.open(tmp_path / name).width for name in ("depth_alpha.png", "overview.png")]
        assert min(widths) > 160 * len(list(views))
