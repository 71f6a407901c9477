"""Where a run begins: its own checkpoints, another's, or weights alone."""

import logging
from pathlib import Path

from gslrm.errors import UserError
from gslrm.training.checkpoint import load_checkpoint
from gslrm.training.trainer import Trainer

logger = logging.getLogger(__name__)


def resume(trainer: Trainer, choice: str, *, load: Path | None = None) -> None:
    """Bring a trainer to where `--resume` says (`auto`, `none` or a checkpoint's path), or to the weights of `--load`.

    Raises:
        UserError: the run has checkpoints of its own although something else is wanted, or nothing usable is at a path.
    """
    options = trainer.config.training.checkpointing
    (own, *_) = trainer.processes.gather(trainer.checkpoints.steps())  # what process 0 sees counts
    wanted = _beside_own(choice, load)
    if own and wanted:
        raise UserError(
            f"{trainer.checkpoints.directory} holds checkpoints of this run, which {wanted} would ignore; choose "
            "another --run-dir, or leave the option away to go on from them"
        )
    if load is not None:
        if choice not in ("auto", "none"):
            raise UserError(f"--load {load} and --resume {choice} exclude each other; give one")
        trainer.adaptation.load(load)
    elif choice not in ("auto", "none"):
        trainer.restore_foreign(Path(choice))
    elif own and not options.force_resume_ckpt:
        _restore_newest(trainer)
    elif options.resume_ckpt and options.reset_training_state:
        trainer.adaptation.load(Path(options.resume_ckpt))
    elif options.resume_ckpt:
        trainer.restore_foreign(Path(options.resume_ckpt))


def _restore_newest(trainer: Trainer) -> None:
    """Process 0 chooses among the run's checkpoints, and tidies up; the others take the same."""
    processes = trainer.processes
    path, content = (trainer.checkpoints.load_newest() if processes.main else None) or (Path(), {})
    (path, *_) = processes.gather(path)
    logger.info("resuming from %s", path)
    trainer.restore(content if processes.main else load_checkpoint(path), path=path)


def way_on(trainer: Trainer, choice: str, *, load: Path | None = None) -> str:
    """Where an interrupted run stands, and what to type to go on from there."""
    done, kept, total = trainer.position.passes, trainer.course.boundary.position.passes, trainer.plan.stop
    name = trainer.stop.name or "a signal to another process"
    where = f"interrupted by {name} after pass {done} of {total}; "
    if not kept:
        return where + "no update was done yet, so nothing is kept: give the same command again to begin anew"
    without = _beside_own(choice, load)
    if trainer.config.training.checkpointing.force_resume_ckpt:
        without = "training.checkpointing.force_resume_ckpt"
    again = f"the same command again without {without}" if without else "the same command again"
    return f"{where}{trainer.checkpoints.directory} holds pass {kept}: give {again} to go on"


def _beside_own(choice: str, load: Path | None) -> str | None:
    """The option that asks for another beginning than the run's own checkpoints."""
    if load is not None:
        return f"--load {load}"
    return None if choice == "auto" else f"--resume {choice}"
