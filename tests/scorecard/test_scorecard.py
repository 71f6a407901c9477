"""A scorecard from samples to files: interrupted or not it is the same, and order does not matter to a fair network."""

import json

import pytest
import torch
from command_helpers import call
from evaluation_helpers import SETTINGS, ball_sample, reconstructor, write_ball_depth
from report_helpers import read_page

from gslrm.config_io import config_from_mapping
from gslrm.evaluation.baselines import ALL, white
from gslrm.model import build_model
from gslrm.reconstruct import build_reconstructor
from gslrm.scorecard import scores as scores_module
from gslrm.scorecard.pictures import Window, cut, window_around
from gslrm.scorecard.scores import score_setting
from gslrm.scorecard.settings import Setting

GIVEN, HELDOUT = (0, 1, 2, 3), (4, 5)
PLAIN = Setting("plain", "plain", baselines=())
ORDER = Setting("order", "order", permuted=True, float32=True, baselines=())


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """A folder of two samples and a checkpoint."""
    folder = tmp_path_factory.mktemp("scorecard")
    for number, radius in enumerate((30.0, 24.0)):
        write_ball_depth(ball_sample(folder / f"mice/sample_{number:03d}", radius=radius))
    worker = reconstructor()
    content = {"model": worker.model.state_dict(), "config": worker.config.model_dump(mode="json")}
    torch.save(content, folder / "network.pt")
    return folder


def marked(**changes):
    """The reconstructor whose network may tell its first view from the others."""
    torch.manual_seed(0)
    settings = SETTINGS | {"model": SETTINGS["model"] | changes}
    config = config_from_mapping(settings, source="test")
    return build_reconstructor(build_model(config.model), config)


def change(worker, sample):
    plain, order = (score_setting(worker, sample, setting, every=GIVEN, targets=HELDOUT) for setting in (PLAIN, ORDER))
    assert order[0].inputs != plain[0].inputs and sorted(order[0].inputs) == sorted(plain[0].inputs)
    return max(abs(a.model["psnr_crop"] - b.model["psnr_crop"]) for a, b in zip(plain, order, strict=True))


def test_order_changes_nothing_of_a_network_that_does_not_see_it_and_something_of_one_that_does(data):
    sample = ball_sample(data / "order")
    assert change(marked(), sample) < 1e-3
    assert change(marked(add_refsrc_marker=True), sample) > 1e-3


def test_a_left_out_camera_is_not_given(data):
    sample = ball_sample(data / "left_out")
    setting = Setting("x", "x", left_out=1, baselines=())
    views = score_setting(reconstructor(), sample, setting, every=GIVEN, targets=HELDOUT)
    assert [view.view for view in views] == [4, 5] and all(view.inputs == (0, 2, 3) for view in views)


class Interrupted(KeyboardInterrupt):
    pass


def test_an_interrupted_scorecard_goes_on_and_ends_as_an_undisturbed_one(data, tmp_path, monkeypatch, capsys):
    calls = []

    def counting(reconstructor, sample, setting, *, every, targets):
        calls.append((setting.name, sample.name))
        if len(calls) == 6:
            raise Interrupted
        return score_setting(reconstructor, sample, setting, every=every, targets=targets)

    monkeypatch.setattr(scores_module, "score_setting", counting)
    monkeypatch.setattr(scores_module, "ALL", ALL | {"visual_hull": white})  # carving is not what is tested here
    options = ("--checkpoint", data / "network.pt", "--data", data / "mice", "--output", tmp_path, "--few", 1)
    options = (*options, "--input-views", "0-3")
    assert call("scripts/prove_model.py", *options) == 130
    assert not (tmp_path / "index.html").exists()
    assert call("scripts/prove_model.py", *options) == 0
    measured = [name for position, name in enumerate(calls) if position != 5]
    assert len(set(measured)) == len(measured) == 2 + 3 + 4 + 2 + 4  # nothing twice; one sample of all but the first
    before = json.loads((tmp_path / "scorecard.json").read_text())
    capsys.readouterr()
    assert call("scripts/prove_model.py", *options) == 0
    assert len(calls) == len(measured) + 1
    assert json.loads((tmp_path / "scorecard.json").read_text()) == before
    out = capsys.readouterr().out
    assert (tmp_path / "tables.md").read_text() in out and "### Wrong masks, wrong calibration" in out
    page = read_page(tmp_path / "index.html")
    assert len(page.of("img")) == len(list((tmp_path / "pictures").glob("*.png"))) == 2
    assert set(before["marks"][0]) == {"label", "found", "bound", "at_least", "digits", "is_met"}
    assert before["summary"]["all_views"]["heldout"]["model"]["depth_error"] > 0
    refusal = call("scripts/prove_model.py", *options, "--set", "model.gaussians.scale_bias=-2.9")
    assert refusal == 2 and "another overrides" in " ".join(capsys.readouterr().err.split())


# Pictures


def test_a_window_of_the_whole_picture_is_the_picture():
    image = torch.rand(3, 40, 40, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(cut(image, Window(0.0, 0.0, 40.0), size=40), image, atol=1e-5, rtol=0)


def test_a_window_moves_with_what_it_shows_and_is_paper_beyond_the_border():
    image = torch.zeros(3, 40, 40)
    image[:, 10:14, 30:34] = 0.5
    shown = cut(image, Window(28.0, 8.0, 16.0), size=16)
    assert torch.all(shown[:, 2:6, 2:6] == 0.5) and shown[0, 0, 0] == 0
    assert torch.all(shown[:, :, 13:] == 1)


def test_the_window_holds_the_object_with_a_margin():
    mask = torch.zeros(1, 64, 64)
    mask[:, 20:40, 10:20] = 1
    window = window_around(mask)
    assert (window.left, window.top, window.side) == pytest.approx((2.0, 17.0, 26.0))
    assert window_around(torch.zeros(1, 48, 64)) == Window(0.0, 0.0, 64.0)
