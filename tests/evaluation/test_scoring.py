"""Ideal pictures get ideal scores, all figures equal an independent scorer's, and every sample weighs the same."""

import json
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch
from evaluation_helpers import ball_sample, independent_scores, reconstructor, write_ball_depth

from gslrm.data.depth import read_depth
from gslrm.errors import UserError
from gslrm.evaluation import truth as truth_module
from gslrm.evaluation.baselines import ALL, TRIVIAL
from gslrm.evaluation.protocol import Fold, plan
from gslrm.evaluation.report import Evaluation
from gslrm.evaluation.scoring import score_folds, score_methods, score_sample
from gslrm.evaluation.summary import summarise
from gslrm.evaluation.truth import perceptual_distance, read_surface
from gslrm.metrics import floater_share
from gslrm.types import Rendering


@pytest.fixture(scope="module")
def worker():
    return reconstructor()


@pytest.fixture
def sample(tmp_path):
    return ball_sample(tmp_path / "sample_000")


def oracle(worker, sample):
    """A painter that has the truth, by camera."""
    placed = worker.place(sample, (0, 1, 2, 3))

    def paint(camera):
        (view,) = [view for view in sample.views if torch.equal(view.camera.position, camera.position)]
        truth, depth = worker.truth(placed, view.index), read_depth(view)
        return Rendering(truth.images, truth.masks, torch.zeros_like(truth.masks) if depth is None else depth)

    return paint, partial(worker.truth, placed)


def test_ground_truth_itself_gets_the_ideal_scores(worker, sample):
    write_ball_depth(sample)
    paint, truth = oracle(worker, sample)
    scores = [score_methods(sample, (0, 1, 2, 3), i, {"model": paint}, truth(i)) for i in range(6)]
    ideal = dict.fromkeys(("psnr", "psnr_fg", "psnr_crop"), 100.0)
    ideal |= dict.fromkeys(("ssim", "ssim_crop", "mask_iou", "mask_precision", "mask_recall", "mask_iou_colour"), 1.0)
    ideal |= {"depth_within": 1.0, "depth_error": 0.0}
    summary = summarise(scores)
    assert summary["input"]["model"] == summary["heldout"]["model"] == ideal


def test_every_score_of_every_method_equals_an_independent_scorer(worker, sample):
    reconstruction = worker.reconstruct(worker.place(sample, (0, 1, 2, 3)))
    checked = 0
    for view in score_sample(worker, reconstruction, range(6), baselines=TRIVIAL):
        stored = sample.views[view.view]
        rendering = worker.render(reconstruction, stored.camera)
        size = (3, stored.camera.height, stored.camera.width)
        pictures = {
            "model": (rendering.rgb[0], rendering.alpha[0, 0]),
            "white": (torch.ones(size), torch.zeros(size[1:])),
        }
        for method, (rgb, alpha) in pictures.items():
            expected = independent_scores(stored.image_path, None, rgb.permute(1, 2, 0).numpy(), alpha.numpy())
            assert dict(view.methods[method]) == pytest.approx(expected, abs=1e-3)
            checked += len(expected)
    assert checked == 6 * 2 * 9


def test_means_are_over_views_then_samples_and_leave_out_what_a_view_has_not(worker, tmp_path):
    """Two samples with unequal numbers of views, one of whose views does not show the animal."""
    evaluation = Evaluation()
    for name, targets in (("a", (4,)), ("b", (4, 5))):
        directory = ball_sample(tmp_path / name, radius=20.0 + 10 * (name == "b"))
        folds = (Fold((0, 1, 2, 3), targets),)
        evaluation.add(*score_folds(worker, directory, folds, baselines={}))
    last = evaluation.views[-1]
    unseen = {name: value for name, value in last.model.items() if name in ("psnr", "ssim")}
    evaluation.views[-1] = replace(last, methods={"model": unseen})
    a, b = (
        [v.model for v in evaluation.views if v.sample == "a"],
        [v.model for v in evaluation.views if v.sample == "b"],
    )
    mean = summarise(evaluation.views)["heldout"]["model"]
    assert mean["psnr"] == pytest.approx((a[0]["psnr"] + (b[0]["psnr"] + b[1]["psnr"]) / 2) / 2)
    assert mean["mask_iou"] == pytest.approx((a[0]["mask_iou"] + b[0]["mask_iou"]) / 2)


def test_samples_of_the_same_name_in_two_recordings_stay_two_samples(worker, tmp_path):
    evaluation = Evaluation()
    for recording in ("one", "two"):
        (tmp_path / recording).mkdir()
        sample = ball_sample(tmp_path / recording / "frame_000012")
        evaluation.add(*score_folds(worker, sample, plan(sample, (0, 1, 2, 3)), baselines={}))
    content = evaluation.content()
    assert len({sample["directory"] for sample in content["samples"]}) == 2
    assert "psnr" in content["intervals"]["heldout"]["model"]  # of two samples, which one alone has not


def test_a_report_is_json_and_says_what_was_given_and_what_was_not(worker, sample):
    evaluation = Evaluation()
    evaluation.add(*score_folds(worker, sample, plan(sample, (0, 1, 2, 3)), baselines=ALL))
    content = json.loads(json.dumps(evaluation.content(), allow_nan=False))
    assert {"protocol", "summary", "intervals", "gains", "geometry", "cameras", "samples", "views"} == set(content)
    assert set(content["summary"]["heldout"]) == {"model", *ALL}
    assert content["samples"][0]["folds"] == [{"inputs": [0, 1, 2, 3], "heldout": [4, 5]}]
    assert [row["view"] for row in content["cameras"]] == list(range(6))
    assert {"model", "white", "nearest", "visual_hull"} <= set(content["views"][0])
    hull, model = (content["summary"]["heldout"][name]["psnr_crop"] for name in ("visual_hull", "model"))
    assert content["gains"]["heldout"]["visual_hull"]["psnr_crop"] == {"mean": pytest.approx(model - hull)}
    assert content["intervals"]["heldout"]["model"] == {}  # one sample tells no spread
    text = evaluation.text()
    assert "heldout views, visual_hull" in text and "heldout cameras, model" in text and "no view was held" not in text


def test_without_spare_cameras_every_camera_is_scored_once_as_held_out_and_once_as_input(worker, sample):
    made_from = []

    def reconstruct(inputs):
        made_from.append(inputs)
        return worker.reconstruct(worker.place(sample, inputs))

    folds = plan(sample, range(6))
    views, judged = score_folds(worker, sample, folds, baselines=TRIVIAL, reconstruct=reconstruct)
    assert made_from == [fold.inputs for fold in folds] and all(len(inputs) == 5 for inputs in made_from)
    assert sorted(view.view for view in views if not view.is_input) == list(range(6))
    assert sorted(view.view for view in views if view.is_input) == list(range(6))
    assert judged.folds == folds


def test_held_out_images_are_not_read_until_the_model_has_its_gaussians(worker, sample):
    hidden = sample.directory / "hidden.png"
    sample.views[5].image_path.rename(hidden)

    def reconstruct(inputs):
        result = worker.reconstruct(worker.place(sample, inputs))
        hidden.rename(sample.views[5].image_path)
        return result

    views, _ = score_folds(worker, sample, plan(sample, (0, 1, 2)), baselines=ALL, reconstruct=reconstruct)
    assert len(views) == 6


def test_gaussians_are_scored_in_the_samples_world_against_its_masks_and_mesh(worker, sample):
    reconstruction = worker.reconstruct(worker.place(sample, (0, 1, 2, 3)))
    surface = torch.randn(500, 3, generator=torch.Generator().manual_seed(0)).double()
    surface = torch.tensor([48.0, 52.0, 45.0]) + 30 * torch.nn.functional.normalize(surface, dim=-1)
    np.savez(sample.directory / "mesh.npz", vertices=surface.numpy())
    _, judged = score_folds(worker, sample, (Fold((0, 1, 2, 3), (4, 5)),), baselines={})
    assert {"count", "effective_count", "floaters", "haze", "chamfer", "f_score"} <= set(judged.geometry)
    everything = [worker.truth(reconstruction.placed, index) for index in range(6)]
    expected = floater_share(reconstruction.in_source(), everything)
    assert judged.geometry["floaters"] == pytest.approx(expected)
    assert expected > floater_share(reconstruction.in_source(), everything[4:])  # more masks, more accusers
    assert 0 < judged.geometry["chamfer"] < 100  # millimetres
    centres = reconstruction.in_source().means
    assert (centres.median(dim=0).values - torch.tensor([48.0, 52.0, 45.0])).norm() < 40


# What a sample may hold beside images


def test_depth_is_read_at_the_scale_that_its_folder_says_or_100_per_unit(tmp_path):
    plain, scaled = ball_sample(tmp_path / "a"), ball_sample(tmp_path / "b")
    write_ball_depth(plain)
    write_ball_depth(scaled, scale=50.0)
    assert read_depth(ball_sample(tmp_path / "c").views[0]) is None
    depths = [read_depth(sample.views[2]) for sample in (plain, scaled)]
    torch.testing.assert_close(depths[0], depths[1], atol=0.02, rtol=0)
    assert 200 < depths[0][depths[0] > 0].median() < 400


def damage_size(folder):
    from PIL import Image

    Image.fromarray(np.zeros((5, 5), np.uint16)).save(folder / "cam_002.png")


def damage_bits(folder):
    from PIL import Image

    Image.fromarray(np.zeros((48, 48), np.uint8)).save(folder / "cam_002.png")


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (damage_size, r"cam_002.png: is uint16 \(5, 5\).* 48x48"),
        (damage_bits, "cam_002.png: is uint8 .*16-bit"),
        (
            lambda folder: (folder / "cam_002.png").write_bytes(b"no picture"),
            "cam_002.png: depth picture cannot be read",
        ),
        (lambda folder: (folder / "scale.json").write_text("{}"), "scale.json: must say"),
        (lambda folder: (folder / "scale.json").write_text('{"depth_scale": 0}'), "depth_scale 0.0 must be positive"),
    ],
)
def test_damaged_depth_is_refused_by_file(sample, spoil, message):
    write_ball_depth(sample)
    spoil(sample.directory / "depth")
    with pytest.raises(UserError, match=message):
        read_depth(sample.views[2])


def test_a_mesh_without_vertices_is_refused_by_file(sample):
    assert read_surface(sample) is None
    for content in ({"faces": np.zeros((3, 3))}, {"vertices": np.zeros((0, 3))}, {"vertices": np.full((4, 3), np.nan)}):
        np.savez(sample.directory / "mesh.npz", **content)
        with pytest.raises(UserError, match=r"mesh.npz: .*vertices"):
            read_surface(sample)


def test_lpips_is_scored_only_where_its_weights_already_are(tmp_path, monkeypatch):
    monkeypatch.setattr(truth_module, "find_spec", lambda name: object())
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    network = torch.nn.Identity()
    monkeypatch.setattr(truth_module.LpipsDistance, "pretrained", staticmethod(lambda: network))
    perceptual_distance.cache_clear()
    try:
        assert perceptual_distance() is None
        perceptual_distance.cache_clear()
        (tmp_path / "checkpoints").mkdir()
        (tmp_path / "checkpoints" / truth_module.VGG16_FILE).write_bytes(b"weights")
        assert perceptual_distance() is network
    finally:
        perceptual_distance.cache_clear()
