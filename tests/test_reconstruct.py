"""What the network needs is undone exactly: outputs are in the sample's own world, at its own cameras."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from helpers import ring, write_ball_sample

from gslrm.config import MouseConfig
from gslrm.config_io import config_from_mapping
from gslrm.data.sample import read_sample
from gslrm.errors import UserError
from gslrm.evaluation.protocol import plan, spread
from gslrm.evaluation.scoring import score_sample
from gslrm.evaluation.summary import summarise
from gslrm.model import build_model
from gslrm.reconstruct import Reconstructor, build_reconstructor, choose_inputs
from gslrm.tensor_struct import stack

WHITE = torch.ones(3)
SETTINGS = {
    "model": {
        "image_tokenizer": {"image_size": 16, "patch_size": 8},
        "transformer": {"d": 32, "d_head": 16, "n_layer": 1},
        "gaussians": {"scale_bias": -3.0, "sh_degree": 1},
        "init_std": 0.1,
    },
    "training": {"runtime": {"device": "cpu", "use_amp": False}, "dataset": {"num_views": 6, "num_input_views": 4}},
    "mouse": {"normalize_cameras": True, "object_size": 1.2, "crop_footprint": 1.5},
}


def reconstructor(**mouse: object) -> Reconstructor:
    torch.manual_seed(0)
    config = config_from_mapping(SETTINGS | {"mouse": SETTINGS["mouse"] | mouse}, source="test")
    return build_reconstructor(build_model(config.model), config)


def scaled_sample(path: Path, unit: float) -> Path:
    cameras = ring(6, size=48)
    pose = cameras.world_from_camera.clone()
    pose[:, :3, 3] *= unit
    return write_ball_sample(
        path, replace(cameras, world_from_camera=pose), center=(70 * unit, 40 * unit, 20 * unit), radius=30 * unit
    )


def test_gaussians_in_the_samples_world_give_the_same_pictures_at_its_own_cameras(tmp_path):
    worker = reconstructor()
    sample = read_sample(scaled_sample(tmp_path / "s", 1.0))
    reconstruction = worker.reconstruct(worker.place(sample, (0, 1, 2, 3)))
    in_source = reconstruction.in_source()
    for view in sample.views[3:]:
        rendering = worker.render(reconstruction, view.camera)
        direct = worker.rasterizer(
            in_source[None],
            view.camera[None, None].float(),
            WHITE[None],
            resolution_ratio=reconstruction.placed.placement.resolution_ratio(view.camera),
        )[0]
        assert rendering.alpha.max() > 0.3
        torch.testing.assert_close(rendering.rgb, direct.rgb, atol=5e-3, rtol=0)
        torch.testing.assert_close(rendering.alpha, direct.alpha, atol=5e-3, rtol=0)
        seen = direct.alpha > 0.2
        torch.testing.assert_close(rendering.depth[seen], direct.depth[seen], rtol=2e-3, atol=0)
        assert 150 < rendering.depth[seen].median() < 500  # millimetres from the camera


@pytest.mark.parametrize("mouse", [{}, {"object_size": None}, {"normalize_to_z_up": True}])
def test_the_unit_of_a_sample_scales_its_gaussians_and_nothing_else(tmp_path, mouse):
    worker = reconstructor(**mouse)
    results = []
    for unit in (1.0, 0.001):
        sample = read_sample(scaled_sample(tmp_path / str(unit), unit))
        results.append(worker.reconstruct(worker.place(sample, (0, 1, 2, 3))).in_source())
    millimetres, metres = results
    torch.testing.assert_close(metres.means * 1000, millimetres.means, atol=0.05, rtol=1e-3)
    torch.testing.assert_close(metres.scales * 1000, millimetres.scales, atol=1e-3, rtol=1e-2)
    torch.testing.assert_close(metres.opacities, millimetres.opacities, atol=1e-3, rtol=0)


def test_finer_pictures_keep_the_blur_of_the_networks_pixels(tmp_path):
    worker = reconstructor()
    sample = read_sample(scaled_sample(tmp_path / "s", 1.0))
    reconstruction = worker.reconstruct(worker.place(sample, (0, 1, 2, 3)))
    crop = reconstruction.placed.placement.crop_camera(sample.views[0].camera)
    fine = replace(crop, focal=4 * crop.focal, center=4 * crop.center, height=64, width=64)
    assert reconstruction.placed.placement.resolution_ratio(crop) == pytest.approx(1)
    assert reconstruction.placed.placement.resolution_ratio(fine) == pytest.approx(4)
    small, large = (worker.render(reconstruction, camera).alpha for camera in (crop, fine))
    reduced = torch.nn.functional.avg_pool2d(large, 4)
    assert (reduced - small).abs().mean() < 0.02


def test_held_out_views_are_never_looked_at_for_placement(tmp_path):
    worker = reconstructor()
    directory = scaled_sample(tmp_path / "s", 1.0)
    before = worker.place(read_sample(directory), (0, 1, 2, 3)).placement
    for index in (4, 5):
        (directory / f"images/cam_{index:03d}.png").unlink()
    after = worker.place(read_sample(directory), (0, 1, 2, 3)).placement
    torch.testing.assert_close(before.center, after.center, atol=1e-9, rtol=0)


def test_scores_keep_given_and_held_out_views_apart(tmp_path):
    worker = reconstructor()
    sample = read_sample(scaled_sample(tmp_path / "s", 1.0))
    reconstruction = worker.reconstruct(worker.place(sample, (0, 1, 2, 3)))
    (fold,) = plan(sample, (0, 1, 2, 3))
    scores = list(score_sample(worker, reconstruction, fold.targets))
    assert [score.is_input for score in scores] == [True] * 4 + [False] * 2
    assert all(
        score.methods["nearest_input"]["psnr_fg"] < 40 for score in scores
    )  # an input view is not compared with itself
    assert set(summarise(scores)) == {"input", "heldout"}
    with pytest.raises(UserError, match=r"views \[3\] .* would not be held-out"):
        plan(sample, (0, 1, 2, 3), (3, 4))


def test_input_views_can_be_chosen_and_must_exist(tmp_path):
    worker = reconstructor()
    sample = read_sample(scaled_sample(tmp_path / "s", 1.0))
    assert choose_inputs(worker.config, sample) == (0, 1, 2, 3)
    assert choose_inputs(worker.config, sample, "1,5") == (1, 5)
    with pytest.raises(UserError, match="has no view 6; its views are 0-5"):
        choose_inputs(worker.config, sample, "0-7")
    with pytest.raises(UserError, match="at least one"):
        choose_inputs(worker.config, sample, "none")


def test_spread_positions_are_even_and_complete():
    assert spread(3, 8) == [0, 1, 2]
    assert spread(9, 3) == [0, 4, 8]
    assert spread(1, 1) == [0]


def test_whole_images_are_placed_without_masks_meeting(tmp_path):
    worker = reconstructor(normalize_cameras=False)
    assert worker.config.mouse == MouseConfig(object_size=1.2, crop_footprint=1.5)
    placed = worker.place(read_sample(scaled_sample(tmp_path / "s", 0.01)), (0, 1))
    assert placed.placement.footprint is None
    assert placed.placement.resolution_ratio(stack([v.camera for v in placed.sample.views])[0]) == pytest.approx(
        3, rel=0.15
    )
