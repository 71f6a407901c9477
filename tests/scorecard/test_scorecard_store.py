"""What was measured is read back as it was, and never taken for something else."""

from pathlib import Path

import pytest

from gslrm.errors import UserError
from gslrm.evaluation.disturbance import Disturbance
from gslrm.evaluation.scoring import ViewScore
from gslrm.scorecard.settings import Setting
from gslrm.scorecard.store import Store, fingerprint

SETTING = Setting("views_4", "4 views", views=4)


def view(directory: str, number: int) -> ViewScore:
    scores = {"model": {"psnr_crop": 20.0 + number / 3}, "white": {"psnr_crop": 8.0}}
    return ViewScore(directory, Path(directory).name, number, f"cam {number}", (0, 1, 2), scores)


def test_scores_are_read_back_exactly_in_the_order_asked_for(tmp_path):
    store = Store(tmp_path, {"sha256": "a"})
    scores = {name: [view(name, 6), view(name, 7)] for name in ("/x/b", "/x/a")}
    for name, views in scores.items():
        store.add(SETTING, Path(name), views)
    assert store.scores(SETTING, [Path("/x/a"), Path("/x/b")]) == [*scores["/x/a"], *scores["/x/b"]]
    assert store.scores(SETTING, [Path("/x/b")]) == scores["/x/b"]


def test_only_samples_without_scores_are_missing(tmp_path):
    store, samples = Store(tmp_path, {"sha256": "a"}), [Path("/x/a"), Path("/x/b"), Path("/x/c")]
    assert store.missing(SETTING, samples) == samples
    store.add(SETTING, samples[1], [view("/x/b", 6)])
    assert store.missing(SETTING, samples) == [samples[0], samples[2]]
    assert Store(tmp_path, {"sha256": "a"}).missing(SETTING, samples) == [samples[0], samples[2]]


@pytest.mark.parametrize(
    ("identity", "setting", "word"),
    [
        ({"sha256": "b"}, SETTING, "another sha256"),
        ({"sha256": "a", "overrides": ["x=1"]}, SETTING, "another overrides"),
        ({"sha256": "a"}, Setting("views_4", "4 views", views=5), "another setting"),
        ({"sha256": "a"}, Setting("views_4", "4 views", views=4, disturbance=Disturbance(seed=1)), "another setting"),
    ],
)
def test_scores_of_something_else_are_refused(tmp_path, identity, setting, word):
    Store(tmp_path, {"sha256": "a"}).add(SETTING, Path("/x/a"), [view("/x/a", 6)])
    with pytest.raises(UserError, match=f"views_4.json: was measured with {word}"):
        Store(tmp_path, identity).missing(setting, [Path("/x/a")])


@pytest.mark.parametrize("text", ["", "[]", '{"identity": 3, "samples": {}}', '{"samples": {}}'])
def test_damaged_scores_are_refused_by_file(tmp_path, text):
    (tmp_path / "settings").mkdir()
    (tmp_path / "settings/views_4.json").write_text(text)
    with pytest.raises(UserError, match=r"views_4.json: "):
        Store(tmp_path, {"sha256": "a"}).missing(SETTING, [])


def test_what_is_measured_once_is_not_measured_again(tmp_path):
    calls = []

    def measure():
        calls.append(1)
        return {"read": 0.5}

    assert [Store(tmp_path, {"sha256": "a"}).once("seconds", measure) for _ in range(2)] == [{"read": 0.5}] * 2
    assert len(calls) == 1
    with pytest.raises(UserError, match="another sha256"):
        Store(tmp_path, {"sha256": "b"}).once("seconds", measure)


def test_a_fingerprint_is_that_of_the_content(tmp_path):
    (tmp_path / "x").write_bytes(b"abc")
    assert fingerprint(tmp_path / "x").startswith("ba7816bf8f01cfea")  # SHA-256 of "abc", FIPS 180-4
    with pytest.raises(UserError, match="cannot read"):
        fingerprint(tmp_path / "y")
