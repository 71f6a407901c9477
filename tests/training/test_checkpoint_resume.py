"""N passes are k passes and N - k, bit for bit, wherever a run is interrupted and whatever it carries."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from training_helpers import configure, differences, lines, repeatable, run, settings

from gslrm.config import Config
from gslrm.config_io import config_from_mapping
from gslrm.errors import UserError
from gslrm.training import guard
from gslrm.training.checkpoint import CheckpointFolder, load_checkpoint, step_of
from gslrm.training.resume import resume, way_on
from gslrm.training.runtime import Runtime
from gslrm.training.trainer import Trainer

NOT_OF_THE_RESULT = ("wandb_id", "config")


def stop_at(config: Config, folder: Path, moment: Callable[[Trainer], bool]) -> Trainer:
    """A run that is asked to stop as soon as a pass has ended in which `moment` is true."""
    folder.mkdir(exist_ok=True)
    trainer = Trainer(config, folder)
    resume(trainer, "auto")
    train_pass = trainer.train_pass

    def watched(*arguments: Any) -> Any:
        result = train_pass(*arguments)
        if moment(trainer):
            trainer.stop.name = "SIGTERM"
        return result

    trainer.train_pass = watched  # type: ignore[method-assign]
    assert not trainer.run()
    return trainer


def stop_after(config: Config, folder: Path, step: int) -> Trainer:
    return stop_at(config, folder, lambda trainer: trainer.position.passes == step)


def end_of(folder: Path) -> dict:
    content = load_checkpoint(folder / "checkpoints/latest")
    del content["random_state"]["python"]  # beartype, which checks types in tests, draws from it
    return {key: value for key, value in content.items() if key not in NOT_OF_THE_RESULT}


@pytest.mark.parametrize(
    "carried",
    [
        pytest.param({}, id="plain"),
        pytest.param({"adapt": {"ema": {"decay": 0.9}, "layer_lr_decay": 0.5}}, id="averaged, rates by layer"),
        pytest.param({"validation": {"val_every": 3, "max_samples": 1}}, id="validated"),
        pytest.param({"checkpointing": {"checkpoint_every": 2, "async_save": True}}, id="in the background"),
        pytest.param({"dataloader": {"num_workers": 2}}, id="two workers", marks=pytest.mark.slow),
    ],
)
def test_a_run_interrupted_twice_is_the_uninterrupted_run_bit_for_bit(samples, tmp_path, carried):
    """In the middle of an accumulation, and past the end of an epoch of 3 samples."""
    accumulate = {"runtime": {"grad_accum_steps": 4}, "schedule": {"max_fwdbwd_passes": 16, "warmup": 2}}
    config = configure(samples, **(accumulate | carried))
    run(configure(samples, **(accumulate | carried | {"dataloader": {}})), tmp_path / "whole")
    first = stop_after(config, tmp_path / "parts", 6)
    second = stop_after(config, tmp_path / "parts", 11)
    assert (first.course.boundary.position.passes, second.course.boundary.position.passes) == (4, 8)
    run(config, tmp_path / "parts")
    assert differences(end_of(tmp_path / "whole"), end_of(tmp_path / "parts")) == []
    assert repeatable(tmp_path / "whole") == repeatable(tmp_path / "parts")


def test_a_loss_scale_that_changes_is_taken_up_where_it_was(samples, tmp_path, monkeypatch):
    """The scaler of float16, at work in float32 on a CPU, growing after every second update."""
    monkeypatch.setattr(Runtime, "needs_scaler", property(lambda self: True))
    monkeypatch.setattr(torch.amp, "GradScaler", partial(torch.amp.GradScaler, growth_interval=2))
    config = configure(samples, schedule={"max_fwdbwd_passes": 24, "warmup": 0})
    run(config, tmp_path / "whole")
    stop_after(config, tmp_path / "parts", 7)  # after the third update, between two growths
    run(config, tmp_path / "parts")
    ends = end_of(tmp_path / "whole"), end_of(tmp_path / "parts")
    assert differences(*ends) == []
    assert ends[0]["scaler"]["scale"] == 2.0**6 * guard.FIRST_SCALE
    assert repeatable(tmp_path / "whole") == repeatable(tmp_path / "parts")


@pytest.mark.parametrize("between", [3, 4])
def test_a_validation_that_was_interrupted_is_done_when_the_run_goes_on(samples, tmp_path, between):
    """Between updates (3) the passes before it are done again; after an update (4) nothing but it is."""
    validation = {"val_every": between, "max_samples": 2}
    config = configure(samples, validation=validation, checkpointing={"checkpoint_every": 100})
    run(config, tmp_path / "whole")
    trainer = Trainer(config, tmp_path / "parts")
    (tmp_path / "parts").mkdir()
    pauses = 0

    def pause() -> None:
        nonlocal pauses
        pauses += 1
        if pauses == 2:  # some of the samples are scored
            trainer.stop.name = "SIGTERM"
        trainer.stop.check()

    trainer.validation.pause = pause
    assert not trainer.run()
    assert not any("val/psnr" in line for line in lines(tmp_path / "parts"))
    assert end_of(tmp_path / "parts")["validation_due"] == (between == 4)
    again = run(config, tmp_path / "parts")
    assert not again.stopped
    assert differences(end_of(tmp_path / "whole"), end_of(tmp_path / "parts")) == []
    assert repeatable(tmp_path / "whole") == repeatable(tmp_path / "parts")


def test_a_validation_of_the_last_pass_that_was_interrupted_is_done_too(samples, tmp_path):
    config = configure(samples, validation={"val_every": 100, "max_samples": 1})
    run(config, tmp_path / "whole")
    (tmp_path / "parts").mkdir()
    trainer = Trainer(config, tmp_path / "parts")
    check = trainer.stop.check

    def pause() -> None:
        trainer.stop.name = "SIGUSR1"
        check()

    trainer.validation.pause = pause
    assert not trainer.run()
    run(config, tmp_path / "parts")
    assert differences(end_of(tmp_path / "whole"), end_of(tmp_path / "parts")) == []
    assert repeatable(tmp_path / "whole") == repeatable(tmp_path / "parts")


def test_a_validation_that_was_done_anew_but_not_yet_saved_is_logged_once(samples, tmp_path):
    """A kill between its line in metrics.jsonl and its checkpoint."""
    config = configure(samples, validation={"val_every": 4, "max_samples": 1}, checkpointing={"checkpoint_every": 100})
    run(config, tmp_path / "whole")
    (tmp_path / "parts").mkdir()
    first, second = (Trainer(config, tmp_path / "parts") for _ in range(2))
    first.validation.pause = lambda: setattr(first.stop, "name", "SIGTERM") or first.stop.check()
    assert not first.run()
    resume(second, "auto")

    def die(*arguments: Any, **options: Any) -> None:
        raise KeyboardInterrupt

    second.save = die  # type: ignore[method-assign]
    with pytest.raises(KeyboardInterrupt):
        second.run()
    assert any("val/psnr" in line for line in lines(tmp_path / "parts"))
    run(config, tmp_path / "parts")
    assert repeatable(tmp_path / "whole") == repeatable(tmp_path / "parts")


def test_a_stop_asked_for_in_the_last_pass_changes_nothing(samples, tmp_path):
    trainer = Trainer(configure(samples), tmp_path)
    train_pass = trainer.train_pass

    def watched(*arguments: Any) -> Any:
        if trainer.position.passes == 7:
            trainer.stop.name = "SIGTERM"
        return train_pass(*arguments)

    trainer.train_pass = watched  # type: ignore[method-assign]
    assert trainer.run()
    assert end_of(tmp_path)["fwdbwd_pass_step"] == 8


def test_before_the_first_update_nothing_is_kept_and_the_sentence_says_so(samples, tmp_path):
    trainer = stop_after(configure(samples), tmp_path, 1)
    assert not trainer.checkpoints.steps()
    assert "after pass 1 of 8; no update was done yet" in way_on(trainer, "auto")


def test_the_sentence_says_where_the_run_stands_and_which_option_to_leave_away(samples, tmp_path):
    trainer = stop_after(configure(samples), tmp_path, 3)
    assert way_on(trainer, "auto") == (
        f"interrupted by SIGTERM after pass 3 of 8; {trainer.checkpoints.directory} holds pass 2: give the same "
        "command again to go on"
    )
    assert "again without --load w.pt to go on" in way_on(trainer, "auto", load=Path("w.pt"))
    assert "again without --resume w.pt to go on" in way_on(trainer, "w.pt")


@pytest.mark.parametrize("choice", ["none", "elsewhere"])
def test_another_beginning_beside_own_checkpoints_is_refused(samples, tmp_path, choice):
    config = configure(samples)
    trainer = run(config, tmp_path / "run")
    other = str(trainer.checkpoints.steps()[0]) if choice == "elsewhere" else choice
    with pytest.raises(UserError, match=r"--resume .* would ignore; choose another --run-dir"):
        resume(Trainer(config, tmp_path / "run"), other)


def test_lines_after_the_checkpoint_that_is_resumed_are_dropped(samples, tmp_path):
    config = configure(samples)
    stop_after(config, tmp_path, 7)
    assert lines(tmp_path)[-1]["step"] == 7
    trainer = Trainer(config, tmp_path)
    resume(trainer, "auto")
    with trainer._open_log():
        assert lines(tmp_path)[-1]["step"] == 6


def test_a_run_without_a_latest_link_goes_on_from_its_newest_checkpoint(samples, tmp_path):
    config = configure(samples)
    stop_after(config, tmp_path, 5)
    (tmp_path / "checkpoints/latest").unlink()
    trainer = Trainer(config, tmp_path)
    resume(trainer, "auto")
    assert trainer.position.passes == 4


def test_checkpoints_of_an_older_version_go_on(samples, tmp_path):
    """Without what was added since: best, validation_due."""
    config = configure(samples)
    trainer = run(config, tmp_path)
    path = trainer.checkpoints.steps()[-1]
    content = load_checkpoint(path)
    for key in ("best", "validation_due"):
        del content[key]
    torch.save(content, path)
    again = Trainer(config, tmp_path)
    resume(again, "auto")
    assert again.position.passes == 8
    assert again.saver.best is None


def test_steps_are_those_of_whole_updates(samples, tmp_path):
    trainer = run(configure(samples, checkpointing={"checkpoint_every": 3, "keep_last": 9}), tmp_path)
    assert [step_of(path) for path in CheckpointFolder(trainer.checkpoints.directory, keep_last=9).steps()] == [4, 6, 8]


def test_settings_of_the_helper_are_a_configuration(samples):
    config = config_from_mapping(settings(samples, validation={}, adapt={"layer_lr_decay": 0.5}), source="test")
    assert config.validation.enabled
    assert config.training.adapt.layer_lr_decay == 0.5
