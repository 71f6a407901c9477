"""The best checkpoint by a held-out score: found, kept, remembered."""

import json
import logging
from pathlib import Path

import numpy as np
import pytest
from training_helpers import configure, run

from gslrm.config import Config
from gslrm.errors import UserError
from gslrm.model.weights import read_checkpoint_file
from gslrm.reconstruct import Reconstructor
from gslrm.training.best import Best, BestMetric
from gslrm.training.checkpoint import load_checkpoint, step_of
from gslrm.training.resume import resume
from gslrm.training.trainer import Trainer
from gslrm.training.validation import ValidationReport

HELDOUT = "val_heldout/psnr_crop"
PICTURE = np.zeros((4, 4, 3), np.uint8)


def metric(samples: Path, name: str = "auto", *, heldout: bool = True, **validation: object) -> BestMetric:
    config = configure(samples, validation=validation, checkpointing={"best_metric": name})
    return BestMetric(config, heldout=heldout)


def scored_run(config: Config, folder: Path, scores: dict[int, dict[str, float]]) -> Trainer:
    """A run whose validations give these scores."""
    folder.mkdir(exist_ok=True)
    trainer = Trainer(config, folder)
    resume(trainer, "auto")

    def scored(*arguments: object) -> ValidationReport:
        return ValidationReport(scores[trainer.position.passes], PICTURE)

    trainer.validation.run = scored  # type: ignore[method-assign]
    trainer.run()
    return trainer


def options(samples: Path, **checkpointing: object) -> Config:
    checkpointing = {"checkpoint_every": 2, "keep_last": 1} | checkpointing
    return configure(samples, validation={"val_every": 2, "max_samples": 1}, checkpointing=checkpointing)


def kept(folder: Path) -> list[int]:
    return sorted(step_of(path) for path in (folder / "checkpoints").glob("ckpt_*"))


def best_of(folder: Path) -> int:
    return step_of((folder / "checkpoints/best").resolve())


def psnr(*scores: float) -> dict[int, dict[str, float]]:
    """Scores after passes 2, 4, 6, 8."""
    return {2 * (index + 1): {HELDOUT: score} for index, score in enumerate(scores)}


@pytest.mark.parametrize(
    ("scores", "best"), [((9.0, 12.0, 10.0, 11.0), 4), ((9.0, 10.0, 11.0, 12.0), 8), ((9.0, 8.0, 9.0, 7.0), 2)]
)
def test_the_best_is_kept_beside_the_newest_and_the_first_of_equals_stays(samples, tmp_path, scores, best):
    scored_run(options(samples), tmp_path, psnr(*scores))
    assert kept(tmp_path) == sorted({best, 8})
    assert best_of(tmp_path) == best
    record = json.loads((tmp_path / "checkpoints/best.json").read_text())
    assert record == {
        "metric": HELDOUT,
        "score": max(scores),
        "pass": best,
        "checkpoint": f"ckpt_{best:016d}.pt",
    }


def test_an_error_is_best_where_it_is_lowest(samples, tmp_path):
    scores = {step: {"val/depth_error": error} for step, error in ((2, 3.0), (4, 1.0), (6, 2.0), (8, 4.0))}
    scored_run(options(samples, best_metric="val/depth_error"), tmp_path, scores)
    assert best_of(tmp_path) == 4


def test_a_score_that_is_no_number_is_never_the_best(samples, tmp_path):
    scored_run(options(samples), tmp_path, psnr(9.0, float("nan"), 8.0, float("nan")))
    assert best_of(tmp_path) == 2
    scored_run(options(samples), tmp_path / "only", psnr(*4 * [float("nan")]))
    assert not (tmp_path / "only/checkpoints/best").exists()


def test_a_resumed_run_remembers_the_best(samples, tmp_path):
    early = options(samples).model_dump(mode="json")
    early["training"]["schedule"]["early_stop_after"] = 4
    scored_run(Config.model_validate(early), tmp_path, psnr(12.0, 9.0))
    trainer = scored_run(options(samples), tmp_path, psnr(0.0, 0.0, 11.0, 10.0))
    assert kept(tmp_path) == [2, 8]
    assert trainer.saver.best == Best(HELDOUT, 12.0, 2)
    assert load_checkpoint(tmp_path / "checkpoints/latest")["best"] == {"metric": HELDOUT, "score": 12.0, "step": 2}


@pytest.mark.parametrize("when", ["between runs", "during a run"])
def test_a_best_that_was_deleted_by_hand_gives_way_to_the_next(samples, tmp_path, caplog, when):
    if when == "between runs":
        early = options(samples).model_dump(mode="json")
        early["training"]["schedule"]["early_stop_after"] = 4
        scored_run(Config.model_validate(early), tmp_path, psnr(12.0, 9.0))
        (tmp_path / "checkpoints/best").resolve().unlink()
        scored_run(options(samples), tmp_path, psnr(0.0, 0.0, 5.0, 4.0))
    else:
        trainer = Trainer(options(samples), tmp_path)
        scores = psnr(12.0, 9.0, 5.0, 4.0)

        def scored(*arguments: object) -> ValidationReport:
            if trainer.position.passes == 6:
                (tmp_path / "checkpoints/best").resolve().unlink()
            return ValidationReport(scores[trainer.position.passes], PICTURE)

        trainer.validation.run = scored  # type: ignore[method-assign]
        trainer.run()
    assert "the best checkpoint is gone" in caplog.text
    assert best_of(tmp_path) == 6
    assert kept(tmp_path) == [6, 8]


def test_a_lost_link_is_made_again_when_the_run_goes_on(samples, tmp_path):
    scored_run(options(samples), tmp_path, psnr(12.0, 9.0, 8.0, 7.0))
    (tmp_path / "checkpoints/best").unlink()
    (tmp_path / "checkpoints/best.json").unlink()
    resume(Trainer(options(samples), tmp_path), "auto")
    assert best_of(tmp_path) == 2
    assert (tmp_path / "checkpoints/best.json").exists()


def test_a_validation_between_updates_judges_the_weights_of_the_update_before(samples, tmp_path):
    config = configure(
        samples, validation={"val_every": 3, "max_samples": 1}, checkpointing={"checkpoint_every": 100, "keep_last": 1}
    )
    scored_run(config, tmp_path, {3: {HELDOUT: 9.0}, 6: {HELDOUT: 8.0}, 8: {HELDOUT: 7.0}})
    assert best_of(tmp_path) == 2
    assert kept(tmp_path) == [2, 8]


def test_another_runs_checkpoint_brings_no_best_of_its_own(samples, tmp_path):
    scored_run(options(samples), tmp_path / "first", psnr(12.0, 9.0, 8.0, 7.0))
    trainer = Trainer(options(samples), tmp_path / "second")
    resume(trainer, str(tmp_path / "first/checkpoints/latest"))
    assert trainer.saver.best is None


def test_a_best_by_another_score_is_not_compared(samples):
    better = metric(samples, "val/psnr").better({"val/psnr": 5.0}, Best(HELDOUT, 20.0, 3), step=4)
    assert better == Best("val/psnr", 5.0, 4)


def test_real_scores_choose_the_best_of_a_real_run_and_inference_takes_it(samples, tmp_path):
    trainer = run(options(samples), tmp_path)
    best = trainer.saver.best
    assert best is not None
    assert best.metric == HELDOUT
    reconstructor = Reconstructor.from_checkpoint(tmp_path / "checkpoints/best", device="cpu")
    stored = read_checkpoint_file(tmp_path / "checkpoints" / f"ckpt_{best.step:016d}.pt")["model"]
    assert reconstructor.model.state_dict().keys() == stored.keys()


@pytest.mark.parametrize("name", ["val_heldout/psnr_corp", "val/memorising", "psnr", "val/white_psnr"])
def test_a_name_that_validation_does_not_know_is_refused_before_the_first_pass(samples, name):
    with pytest.raises(UserError, match=rf"gives no {name} here; choose auto or one of val_heldout/psnr, "):
        metric(samples, name)


def test_a_held_out_score_without_held_out_views_is_refused_before_the_first_pass(samples):
    with pytest.raises(UserError, match=r"gives no val_heldout/psnr here; choose auto or one of val/psnr, "):
        metric(samples, "val_heldout/psnr", heldout=False)


def test_a_score_without_validation_is_refused_before_the_first_pass(samples):
    with pytest.raises(UserError, match="needs validation.enabled: true"):
        BestMetric(configure(samples, checkpointing={"best_metric": "val/psnr"}), heldout=False)


def test_a_score_that_these_samples_do_not_give_is_refused_at_the_first_validation(samples):
    with pytest.raises(UserError, match=r"gives no val/depth_error here; choose auto or one of val/psnr, val/lpips$"):
        metric(samples, "val/depth_error").better({"val/psnr": 1.0, "val/lpips": 1.0, "val/x": 1.0}, None, step=1)


def test_without_held_out_views_auto_keeps_no_best(samples):
    assert metric(samples, heldout=False).better({"val/psnr_crop": 9.0}, None, step=1) is None


def test_auto_tells_when_its_score_is_missing(samples, caplog):
    with caplog.at_level(logging.WARNING):
        assert metric(samples).better({"val/psnr": 9.0}, None, step=1) is None
    assert HELDOUT in caplog.text


def test_keep_best_false_keeps_none(samples, tmp_path):
    scored_run(options(samples, keep_best=False), tmp_path, psnr(12.0, 9.0, 8.0, 7.0))
    assert kept(tmp_path) == [8]
    assert not (tmp_path / "checkpoints/best").exists()


def test_every_score_of_a_validation_has_a_direction_or_is_none_of_the_models(samples, tmp_path):
    trainer = run(options(samples), tmp_path)
    scores = trainer.validation.run(trainer.reconstructor).scalars
    counts = {"val/memorising", "val/gaussians_count", "val/gaussians_effective_count"}
    baselines = tuple(f"{kind}/{name}_" for kind in ("val", "val_heldout") for name in trainer.validation.baselines)
    own = [name for name in scores if not name.startswith(baselines) and name not in counts]
    for name in own:
        assert metric(samples, name).better(scores, None, step=1) is not None, name
    assert len(own) > 10
