"""Refinement is kept only where it helps a camera that did not take part, and never harms what was there."""

from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
import torch
from helpers import ring, write_ball_sample

import gslrm.refine.fit
import gslrm.refine.refinement
import gslrm.refine.trial
from gslrm.config import RefineConfig
from gslrm.config_io import config_from_mapping
from gslrm.data.sample import read_sample
from gslrm.model import build_model
from gslrm.reconstruct import Reconstruction, Reconstructor, build_reconstructor
from gslrm.refine import judged_refinement, refine
from gslrm.refine.fit import MIN_OPACITY, Fit, coarsened
from gslrm.refine.target import MARGIN, Look, Target, look
from gslrm.refine.trial import SLACK, Trial, choose_left_out

GIVEN = (0, 1, 2, 3, 4, 5)
SETTINGS = {
    "model": {
        "image_tokenizer": {"image_size": 32, "patch_size": 8},
        "transformer": {"d": 32, "d_head": 16, "n_layer": 1},
        "drop_background": True,
        "depth_anchor": "corrected_hull",  # untrained, it is the coloured hull of the given masks
        "gaussians": {"opacity_bias": 0.85},
        "hull": {"detail": 1, "scale": 0.25},
    },
    "training": {"runtime": {"device": "cpu", "use_amp": False}, "dataset": {"num_views": 8, "num_input_views": 6}},
    "mouse": {"normalize_cameras": True, "object_size": 1.2, "crop_footprint": 1.5},
}


def reconstructor(**options: object) -> Reconstructor:
    torch.manual_seed(0)
    settings = SETTINGS | {"inference": {"refine": {"look_every": 2, **options}}}
    config = config_from_mapping(settings, source="test")
    return build_reconstructor(build_model(config.model), config)


def ball(path: Path) -> Path:
    return write_ball_sample(path, ring(8, size=48))


def predicted(worker: Reconstructor, directory: Path, given: tuple[int, ...] = GIVEN) -> Reconstruction:
    return worker.reconstruct(worker.place(read_sample(directory), given))


def targets(worker: Reconstructor, reconstruction: Reconstruction, views: tuple[int, ...]) -> list[Target]:
    placed = reconstruction.placed
    found = [Target.of(worker.truth(placed, index), placed.placement) for index in views]
    return [target for target in found if target is not None]


@pytest.fixture(scope="module")
def sample(tmp_path_factory) -> Path:
    return ball(tmp_path_factory.mktemp("refine") / "sample")


def test_a_refined_sample_gains_at_the_camera_left_out_and_at_those_never_given(sample):
    worker = reconstructor()
    prediction = predicted(worker, sample)
    before = prediction.gaussians.map(torch.clone)
    refinement = judged_refinement(worker, prediction, 12)
    report = refinement.report
    assert report["accepted"]
    assert 0 < report["steps"] <= 12
    for seen in (report["left_out"], report["given"]):
        assert seen["after"]["psnr_crop"] > seen["before"]["psnr_crop"]
        assert seen["after"]["iou"] >= seen["before"]["iou"]
    unseen = targets(worker, prediction, (6, 7))
    gain = partial(look, targets=unseen, rasterizer=worker.rasterizer)
    assert gain(refinement.reconstruction.gaussians).psnr_crop > gain(prediction.gaussians).psnr_crop + 0.5
    assert report["gaussians"] == len(refinement.reconstruction.gaussians.means)
    assert all(value.isfinite().all() for value in vars(refinement.reconstruction.gaussians).values())
    for name, value in vars(before).items():
        assert torch.equal(getattr(prediction.gaussians, name), value)


@pytest.mark.parametrize("pixels", [0.05, 2.0, 50.0])
@pytest.mark.parametrize("steps", [1, 5])
def test_no_fit_whatever_its_pace_leaves_the_judges_worse_off(sample, monkeypatch, pixels, steps):
    monkeypatch.setitem(gslrm.refine.fit.RATES, "means", pixels)
    worker = reconstructor()
    prediction = predicted(worker, sample)
    refinement = judged_refinement(worker, prediction, steps)
    for seen in (refinement.report["left_out"], refinement.report["given"]):
        assert seen["after"]["psnr_crop"] >= seen["before"]["psnr_crop"]
        assert seen["after"]["iou"] >= seen["before"]["iou"]
    assert refinement.report["accepted"] == (refinement.reconstruction is not prediction)


def test_a_fit_that_harms_the_camera_left_out_is_refused(sample, monkeypatch):
    monkeypatch.setitem(gslrm.refine.fit.RATES, "means", 50.0)
    worker = reconstructor(anchor=0.0)
    prediction = predicted(worker, sample)
    refinement = judged_refinement(worker, prediction, 6)
    assert refinement.reconstruction is prediction
    assert refinement.report["steps"] == 0
    assert "did not gain" in refinement.report["reason"]


def test_refinement_reads_no_view_that_was_not_given(tmp_path):
    worker = reconstructor()
    directory = ball(tmp_path / "sample")
    whole = refine(worker, predicted(worker, directory), 4)
    for index in (6, 7):
        (directory / f"images/cam_{index:03d}.png").unlink()
    again = refine(worker, predicted(worker, directory), 4)
    assert torch.equal(whole.gaussians.means, again.gaussians.means)  # and the same result twice


@pytest.mark.parametrize(("given", "steps", "reason"), [((0, 3), 5, "fewer than three"), (GIVEN, 0, "no steps")])
def test_where_nothing_can_be_judged_the_prediction_is_returned(sample, given, steps, reason):
    worker = reconstructor()
    prediction = predicted(worker, sample, given)
    refinement = judged_refinement(worker, prediction, steps)
    assert refinement.reconstruction is prediction
    assert not refinement.report["accepted"]
    assert reason in refinement.report["reason"]


def test_given_pictures_take_the_place_of_the_stored_ones(sample):
    worker = reconstructor()
    prediction = predicted(worker, sample)
    stored = [worker.truth(prediction.placed, index) for index in GIVEN]
    red = [replace(view, images=view.images * torch.tensor([1.0, 0.2, 0.2])[:, None, None]) for view in stored]
    fits = [Fit(prediction.gaussians, [t for t in (Target.of(v, prediction.placed.placement) for v in views) if t],
                rasterizer=worker.rasterizer, config=RefineConfig(), steps=1) for views in (stored, red)]  # fmt: skip
    assert not torch.equal(fits[0].targets[0].view.images, fits[1].targets[0].view.images)
    same = refine(worker, prediction, 3, views=stored)
    assert torch.equal(same.gaussians.means, refine(worker, prediction, 3).gaussians.means)
    assert not torch.equal(same.gaussians.means, refine(worker, prediction, 3, views=red).gaussians.means)


def test_the_frame_before_is_taken_where_it_shows_the_views_better(sample):
    worker = reconstructor()
    prediction = predicted(worker, sample)
    first = refine(worker, prediction, 12)
    next_one = judged_refinement(worker, prediction, 4, start=first)
    assert next_one.report["start"] == "frame before"
    visible = int((first.gaussians.opacities > MIN_OPACITY).sum())
    assert (
        not next_one.report["accepted"] or next_one.report["gaussians"] == visible
    )  # neither thinned nor filled again
    gone = replace(prediction, gaussians=replace(first.gaussians, means=first.gaussians.means + 5))
    assert judged_refinement(worker, prediction, 4, start=gone).report["start"] == "prediction"


def test_what_goes_on_from_the_frame_before_is_neither_thinned_nor_filled_again(sample, monkeypatch):
    worker = reconstructor()
    prediction = predicted(worker, sample)
    first = refine(worker, prediction, 12)
    fits = []

    class Spy(Fit):
        def __init__(self, *args: object, **options: object) -> None:
            super().__init__(*args, **options)
            fits.append(len(self.gaussians.means))

    for module in (gslrm.refine.refinement, gslrm.refine.trial):
        monkeypatch.setattr(module, "Fit", Spy)
    judged_refinement(worker, prediction, 2, start=first)
    visible = int((first.gaussians.opacities > MIN_OPACITY).sum())
    assert fits == [visible, visible]  # trial and fit


def test_a_target_shows_what_the_whole_picture_shows_there(sample):
    worker = reconstructor()
    prediction = predicted(worker, sample)
    (target,) = targets(worker, prediction, (2,))
    drawn = target.render(prediction.gaussians, worker.rasterizer)
    whole = worker.render(prediction, prediction.placed.sample.views[2].camera)
    mask = worker.truth(prediction.placed, 2).masks[0, 0] > 0.5
    rows, columns = mask.any(dim=1).nonzero()[:, 0], mask.any(dim=0).nonzero()[:, 0]
    height, width = drawn.alpha.shape[-2:]
    assert height >= rows[-1] - rows[0] + 2 * MARGIN
    found = [
        (whole.alpha[..., top : top + height, left : left + width] - drawn.alpha).abs().max()
        for top in range(48 - height + 1)
        for left in range(48 - width + 1)
    ]
    assert min(found) < 1e-3
    assert width >= columns[-1] - columns[0] + 2 * MARGIN


def test_an_empty_picture_is_no_target(sample):
    worker = reconstructor()
    prediction = predicted(worker, sample)
    view = worker.truth(prediction.placed, 0)
    assert Target.of(replace(view, masks=torch.zeros_like(view.masks)), prediction.placed.placement) is None


def test_a_choice_of_gaussians_covers_the_same_area_and_leaves_out_the_invisible(sample):
    gaussians = predicted(reconstructor(), sample).gaussians
    hidden = gaussians.opacities.clone()
    hidden[::2] = 0.5 * MIN_OPACITY
    assert len(coarsened(replace(gaussians, opacities=hidden), 1.0).means) == (hidden > MIN_OPACITY).sum()
    chosen, everything = coarsened(gaussians, 0.25), coarsened(gaussians, 1.0)
    area = lambda them: float(them.scales[:, :2].prod(dim=1).sum())  # noqa: E731
    assert len(chosen.means) == pytest.approx(0.25 * len(everything.means), rel=0.2)
    assert area(chosen) == pytest.approx(area(everything), rel=0.2)


def test_an_anchor_keeps_centres_where_the_network_put_them(sample):
    worker = reconstructor()
    prediction = predicted(worker, sample)
    ways = []
    for anchor in (0.0, 10.0):
        fit = Fit(
            prediction.gaussians,
            targets(worker, prediction, GIVEN),
            rasterizer=worker.rasterizer,
            config=RefineConfig(anchor=anchor),
            steps=8,
        )
        for _ in range(8):
            fit.step()
        ways.append(float((fit.gaussians.means - fit.start).norm(dim=1).mean()))
    assert ways[1] < 0.7 * ways[0]


def test_a_weight_on_opacity_lets_fade_what_no_given_view_needs_and_spares_fillers(sample):
    worker = reconstructor()
    prediction = predicted(worker, sample)
    given = targets(worker, prediction, GIVEN)
    seen = []
    for opacity in (0.0, 1.0):
        settings = RefineConfig(opacity=opacity, area=0.0, fill=100)
        fit = Fit(prediction.gaussians, given, rasterizer=worker.rasterizer, config=settings, steps=8)
        for _ in range(8):
            fit.step()
        seen.append(fit.gaussians.opacities)
    assert len(seen[0]) == fit.surface + 100
    assert seen[1][: fit.surface].mean() < 0.85 * seen[0][: fit.surface].mean()
    assert seen[1][fit.surface :].mean() > 0.7


def test_a_weight_on_the_area_between_cameras_takes_away_what_silhouettes_only_allow(sample):
    worker = reconstructor()
    prediction = predicted(worker, sample)
    given, unseen = (targets(worker, prediction, views) for views in (GIVEN, (6, 7)))
    outside = []
    for area in (0.0, 0.3):
        settings = RefineConfig(area=area, fill=100)
        fit = Fit(prediction.gaussians, given, rasterizer=worker.rasterizer, config=settings, steps=30)
        for _ in range(30):
            fit.step()
        before, after = (look(them, given, worker.rasterizer) for them in (prediction.gaussians, fit.gaussians))
        assert after.iou > before.iou
        drawn = [(target.render(fit.gaussians, worker.rasterizer).alpha, target.view.masks) for target in unseen]
        outside.append(sum(float((alpha * (mask < 0.5)).sum() / mask.sum()) for alpha, mask in drawn))
    assert outside[1] < 0.9 * outside[0]


def test_the_camera_left_out_is_the_one_with_the_nearest_neighbours():
    angle = torch.tensor([0.0, 0.3, 0.6, 2.0, 4.0])
    positions = torch.stack([angle.cos(), angle.sin(), torch.zeros(5)], dim=1)
    assert choose_left_out(positions) == 1
    order = torch.tensor([4, 1, 0, 3, 2])
    assert choose_left_out(3 * positions[order]) == 1
    with pytest.raises(ValueError, match="three at least"):
        choose_left_out(positions[:2])


def test_the_last_look_that_is_better_than_the_prediction_and_near_the_best_decides():
    before = Look(20.0, 0.9)
    looks = tuple(
        enumerate([Look(21.0, 0.91), Look(22.0, 0.92), Look(22.0 - SLACK / 2, 0.91), Look(21.9 - SLACK, 0.95)], start=1)
    )
    trial = Trial(before, looks)
    assert trial.steps == 3
    assert trial.after == looks[2][1]
    assert Trial(Look(21.9, 0.9), looks).steps == 2
    assert Trial(before, ((5, Look(25.0, 0.89)),)).steps == 0  # a silhouette was lost
    assert Trial(before, ((5, Look(20.0, 0.95)),)).after == before
