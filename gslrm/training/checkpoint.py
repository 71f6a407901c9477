"""Checkpoints that a kill at any moment cannot destroy, and the way back from them."""

import json
import logging
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gslrm.errors import UserError
from gslrm.model.weights import read_checkpoint_file
from gslrm.training.best import Best
from gslrm.training.writing import clean, publish, remove, replace, temporary_of

LATEST, BEST, SCORE_FILE = "latest", "best", "best.json"
NAME = re.compile(r"ckpt_(\d{16})(\.\w+)?")
REQUIRED = ("optimizer", "fwdbwd_pass_step", "param_update_step", "config", "random_state")
logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class CheckpointFolder:
    """The `checkpoints` folder of a run: `ckpt_<pass>.pt`, and the links `latest` and `best`.

    A checkpoint is a file or a folder of parts, complete as soon as it has its name.
    """

    directory: Path
    keep_last: int
    suffix: str = ".pt"
    """What the names of new checkpoints end with; those with any other ending count as well."""

    def steps(self) -> list[Path]:
        """Complete checkpoints, oldest first."""
        if not self.directory.is_dir():
            return []
        found = [path for path in self.directory.iterdir() if NAME.fullmatch(path.name)]
        return sorted(found, key=lambda path: (step_of(path), path.name))

    def find(self, step: int) -> Path | None:
        """The checkpoint of a pass, where there is one."""
        return next((path for path in self.steps() if step_of(path) == step), None)

    def save(self, write: Callable[[Path], object], *, step: int, best: Best | None = None) -> Path:
        """Write a checkpoint beside its final name, then rename it, point the links at it, and remove old ones.

        A kill at any moment, or an error, leaves the previous checkpoint and its link untouched.

        Args:
            write: writes a file or a folder at the path that it is given, and flushes it to the disk.
            step: passes that it holds.
            best: the best validated checkpoint of the run, this one or an earlier one, which is kept as well.

        Raises:
            OSError: the disk is full or not writable; nothing half written is left.
        """
        temporary = self.prepare(step)
        try:
            write(temporary)
        except BaseException:
            remove(temporary)
            raise
        return self.complete(temporary, step=step, best=best)

    def prepare(self, step: int) -> Path:
        """Where the checkpoint of a pass is to be written, by one process or several, before `complete`."""
        self.directory.mkdir(parents=True, exist_ok=True)
        clean(self.directory)
        return self.temporary(step)

    def temporary(self, step: int) -> Path:
        """Where the checkpoint of a pass lies before it is complete; every process finds the same place."""
        return temporary_of(self._path(step))

    def complete(self, temporary: Path, *, step: int, best: Best | None = None) -> Path:
        """Give what was written its name, point the links at it, and only then remove old checkpoints."""
        path = self._path(step)
        publish(temporary, path)
        replace(self.directory / LATEST, lambda link: link.symlink_to(path.name))
        self.point_at(best)
        for old in self._beyond(best):
            try:
                remove(old)
            except OSError as error:
                logger.warning("%s: cannot be removed (%s)", old, error.strerror or error)
        return path

    def point_at(self, best: Best | None) -> None:
        """Let the link `best` name the best checkpoint, with its score beside it, or remove both for none."""
        path = None if best is None else self.find(best.step)
        if best is None or path is None:
            remove(self.directory / BEST)
            remove(self.directory / SCORE_FILE)
            return
        record = {"metric": best.metric, "score": best.score, "pass": best.step, "checkpoint": path.name}
        replace(self.directory / BEST, lambda link: link.symlink_to(path.name))
        replace(self.directory / SCORE_FILE, lambda file: file.write_text(json.dumps(record) + "\n", encoding="utf-8"))

    def load_newest(self) -> tuple[Path, dict[str, Any]] | None:
        """The newest readable checkpoint, or none in an empty folder; unreadable ones are named and passed over.

        Raises:
            UserError: there are checkpoints and none can be read; a run never goes on from random weights.
        """
        clean(self.directory)
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

    def _path(self, step: int) -> Path:
        return self.directory / f"ckpt_{step:016d}{self.suffix}"

    def _beyond(self, best: Best | None) -> list[Path]:
        """Checkpoints that are neither among the newest nor the best."""
        old = self.steps()[: -self.keep_last]
        return [path for path in old if best is None or step_of(path) != best.step]


def step_of(path: Path) -> int:
    """Passes that a checkpoint holds, from its name."""
    match = NAME.fullmatch(path.name)
    if match is None:
        raise ValueError(f"{path}: no name of a checkpoint")
    return int(match[1])


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
