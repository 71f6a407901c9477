"""Checkpoints that a kill at any moment cannot destroy, and the way back from them."""

import logging
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from gslrm.errors import UserError
from gslrm.model.weights import read_checkpoint_file

LATEST = "latest"
PATTERN = "ckpt_*.pt"
REQUIRED = ("optimizer", "fwdbwd_pass_step", "param_update_step", "config", "random_state")
logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class CheckpointFolder:
    """The `checkpoints` folder of a run: `ckpt_{step:016d}.pt`, and the link `latest`."""

    directory: Path
    keep_last: int

    def steps(self) -> list[Path]:
        """Complete checkpoints, oldest first."""
        return sorted(self.directory.glob(PATTERN))

    def save(self, state: dict[str, Any], *, step: int) -> Path:
        """Write a checkpoint beside its final name, flush it to the disk, then rename it.

        A kill at any moment leaves the previous checkpoint and its link untouched.

        Raises:
            UserError: the disk is full or not writable; earlier checkpoints are as they were.
        """
        try:
            return self._save(state, step)
        except OSError as error:
            raise UserError(
                f"{self.directory}: cannot write the checkpoint of pass {step} ({error.strerror or error}); earlier "
                "ones are intact: free some space and give the same command again"
            ) from error

    def _save(self, state: dict[str, Any], step: int) -> Path:
        self.directory.mkdir(parents=True, exist_ok=True)
        for stale in self.directory.glob(".*.tmp"):
            stale.unlink()
        path = self.directory / f"ckpt_{step:016d}.pt"
        _replace(path, lambda temporary: _write(state, temporary))
        _replace(self.directory / LATEST, lambda temporary: temporary.symlink_to(path.name))
        for old in self.steps()[: -self.keep_last]:
            old.unlink()
        return path

    def load_newest(self) -> tuple[Path, dict[str, Any]] | None:
        """The newest readable checkpoint, or none in an empty folder; unreadable ones are named and passed over.

        Raises:
            UserError: there are checkpoints and none can be read; a run never goes on from random weights.
        """
        paths = self.steps()[::-1]
        for path in paths:
            try:
                return path, load_checkpoint(path)
            except UserError as error:
                logger.warning("%s; trying the one before", error)
        if paths:
            raise UserError(
                f"{self.directory}: none of its {len(paths)} checkpoints can be read; remove or restore them"
            )
        return None


def load_checkpoint(path: Path) -> dict[str, Any]:
    """A training checkpoint of ours.

    Raises:
        UserError: missing, damaged, or without what a run needs.
    """
    content = read_checkpoint_file(path)
    absent = [key for key in REQUIRED if key not in content]
    absent += [] if "adapter" in content or "model" in content else ["model"]
    if absent:
        raise UserError(
            f"{path}: not a mouse-facelift training checkpoint, it lacks {', '.join(absent)}; published weights are "
            "given as training.checkpointing.resume_ckpt with reset_training_state: true, or as --load"
        )
    return content


def _write(state: dict[str, Any], path: Path) -> None:
    with path.open("wb") as file:
        torch.save(state, file)
        file.flush()
        os.fsync(file.fileno())


def _replace(path: Path, write: Callable[[Path], object]) -> None:
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    temporary.unlink(missing_ok=True)
    try:
        write(temporary)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    temporary.replace(path)
    descriptor = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(descriptor)  # the rename itself must survive a power cut
    finally:
        os.close(descriptor)
