"""Where a run begins: its own checkpoints, another's, or weights alone."""

import logging
from pathlib import Path

from gslrm.errors import UserError
from gslrm.training.trainer import Trainer

logger = logging.getLogger(__name__)


def resume(trainer: Trainer, choice: str, *, load: Path | None = None) -> None:
    """Bring a trainer to where `--resume` says (`auto`, `none` or a checkpoint's path), or to the weights of `--load`.

    Raises:
        UserError: the run has checkpoints of its own although something else is wanted, or nothing usable is at a path.
    """
    options, own = trainer.config.training.checkpointing, trainer.checkpoints.steps()
    if own and (load is not None or choice == "none"):
        wanted = "--resume none" if load is None else f"--load {load}"
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
        path, content = trainer.checkpoints.load_newest() or (Path(), {})
        logger.info("resuming from %s", path)
        trainer.restore(content, path=path)
    elif options.resume_ckpt and options.reset_training_state:
        trainer.adaptation.load(Path(options.resume_ckpt))
    elif options.resume_ckpt:
        trainer.restore_foreign(Path(options.resume_ckpt))
