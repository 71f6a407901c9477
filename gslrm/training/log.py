"""Where figures and pictures of a run go: metrics.jsonl always, wandb when it may, TensorBoard on request."""

import json
import logging
import math
import os
from collections.abc import Mapping, Sequence
from netrc import NetrcParseError, netrc
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Protocol, runtime_checkable

import numpy as np

from gslrm.config import Config, LoggingConfig
from gslrm.errors import UserError
from gslrm.export import replacing, write_picture

METRICS_FILE = "metrics.jsonl"
SAMPLES = "train/samples"  # names of the samples of the pass, the one entry that is no number
logger = logging.getLogger(__name__)


@runtime_checkable
class Sink(Protocol):
    """A dashboard that figures and pictures are sent to."""

    def scalars(self, step: int, values: Mapping[str, float], samples: Sequence[str]) -> None:
        """Figures of one pass, not finite ones too, and the names of its samples."""

    def picture(self, step: int, name: str, picture: np.ndarray) -> None:
        """A picture uint8 [H, W, 3]."""

    def close(self, *, failed: bool) -> None:
        """Finish writing; `failed` tells that the run ended before its time."""


class RunLog:
    """Scalars and pictures of one run; a resumed run continues the same files."""

    def __init__(self, run_dir: Path, config: Config, *, done: int, wandb_id: str, redo: bool = False):
        """Open the log; what a resumed run computes again is dropped: lines of passes after `done`.

        Args:
            run_dir: the run's folder.
            config: says which dashboards there are.
            done: passes that the run has done.
            wandb_id: of the run.
            redo: whether the validation after pass `done` is computed again, too.

        Raises:
            UserError: the package of a dashboard that is asked for is missing.
        """
        self.path = run_dir / METRICS_FILE
        self.pictures = pictures_folder(run_dir, config)
        self._sinks = _start_sinks(run_dir, config, done=done, wandb_id=wandb_id)
        _drop_lines_after(self.path, done, validation=redo)
        self._lines = PatientFile(self.path)

    def __enter__(self) -> "RunLog":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close(failed=kind is not None)

    def scalars(self, step: int, values: Mapping[str, float], samples: Sequence[str] = ()) -> None:
        """One line of metrics.jsonl, flushed, and the same on the dashboards.

        What is not finite is null in the file, as JSON has no NaN. `samples` are the names of the pass's samples.
        """
        finite = {name: value if math.isfinite(value) else None for name, value in values.items()}
        names = {SAMPLES: list(samples)} if samples else {}
        self._lines.write(json.dumps({"step": step, **finite, **names}) + "\n")
        for sink in self._sinks:
            sink.scalars(step, values, samples)

    def picture(self, step: int, name: str, picture: np.ndarray) -> Path:
        """A picture uint8 [H, W, 3] as `pictures/<name>_<step>.png`, and under `name` on the dashboards.

        On a full disk it is left out; that ends no run.
        """
        path = self.pictures / f"{name.replace('/', '_')}_{step:08d}.png"
        try:
            write_picture(path, picture)
        except UserError as error:
            logger.warning("%s; the run goes on without the picture", error)
        for sink in self._sinks:
            sink.picture(step, name, picture)
        return path

    def close(self, *, failed: bool = False) -> None:
        """Finish writing; `failed` tells dashboards that the run ended before its time."""
        self._lines.close()
        for sink in self._sinks:
            sink.close(failed=failed)


class PatientFile:
    """Text appended to a file at once, or as soon as a full disk has room again."""

    def __init__(self, path: Path) -> None:
        """Open the file for appending."""
        self.path = path
        self._file = path.open("ab", buffering=0)
        self._waiting = b""

    def write(self, text: str) -> None:
        """Append; what the disk does not take is kept in memory."""
        told = bool(self._waiting)
        self._waiting += text.encode()
        try:
            while self._waiting:
                self._waiting = self._waiting[self._file.write(self._waiting) :]
        except OSError as error:
            if not told:
                logger.warning("%s: cannot be written (%s); free some space", self.path, error.strerror or error)

    def close(self) -> None:
        """Try a last time, and close."""
        self.write("")
        if self._waiting:
            logger.warning("%s: its last %d bytes could not be written", self.path, len(self._waiting))
        self._file.close()


class WandbSink:
    """A wandb run, online or in the run folder."""

    def __init__(self, run_dir: Path, config: Config, mode: Literal["online", "offline"], *, wandb_id: str) -> None:
        """Start the run `wandb_id`, or go on with it."""
        import wandb

        options = config.training.logging.wandb
        self._image = wandb.Image
        self._run = wandb.init(
            project=options.project,
            name=options.exp_name or run_dir.name,
            group=options.group,
            job_type=options.job_type,
            dir=str(run_dir),
            mode=mode,
            id=wandb_id,
            resume="allow",
            config=config.model_dump(mode="json"),
            settings=wandb.Settings(silent=True, console="off"),
        )

    def scalars(self, step: int, values: Mapping[str, float], samples: Sequence[str]) -> None:
        """See `Sink`."""
        names = {SAMPLES: ", ".join(samples)} if samples else {}
        self._run.log({**values, **names}, step=step)

    def picture(self, step: int, name: str, picture: np.ndarray) -> None:
        """See `Sink`."""
        self._run.log({name: self._image(picture)}, step=step)

    def close(self, *, failed: bool) -> None:
        """See `Sink`."""
        self._run.finish(exit_code=int(failed))


class TensorboardSink:
    """Event files in `tensorboard/` of the run folder."""

    def __init__(self, folder: Path, *, done: int) -> None:
        """Open the event file; what an earlier one holds of passes after `done` is hidden.

        Raises:
            UserError: TensorBoard is not installed.
        """
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError as error:
            raise UserError(
                "training.logging.tensorboard: true needs a package that is not installed; run `pip install "
                "tensorboard`, or set it to false"
            ) from error
        self._writer = SummaryWriter(str(folder), purge_step=done + 1 if done else None)

    def scalars(self, step: int, values: Mapping[str, float], samples: Sequence[str]) -> None:
        """See `Sink`; the names of the samples are in metrics.jsonl only."""
        for name, value in values.items():
            self._writer.add_scalar(name, value, step)
        self._writer.flush()

    def picture(self, step: int, name: str, picture: np.ndarray) -> None:
        """See `Sink`."""
        self._writer.add_image(name, picture, step, dataformats="HWC")

    def close(self, *, failed: bool) -> None:
        """See `Sink`."""
        self._writer.close()


def pictures_folder(run_dir: Path, config: Config) -> Path:
    """Where a run's pictures lie."""
    return Path(config.validation.output_dir or run_dir / "pictures")


def read_metrics(path: Path) -> tuple[list[dict[str, Any]], int]:
    """The entries of a metrics.jsonl, and how many of its lines are damaged: a kill can cut the last one short."""
    entries, damaged = [], 0
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        try:
            entry = json.loads(line)
        except ValueError:
            entry = None
        if isinstance(entry, dict) and isinstance(entry.get("step"), int):
            entries.append(entry)
        else:
            damaged += 1
    return entries, damaged


def wandb_mode(config: LoggingConfig) -> Literal["online", "offline", "disabled"]:
    """Online only with a login; without one the run is kept offline, and can be synchronised later."""
    if config.wandb.mode == "disabled":
        return "disabled"
    if config.wandb.offline or config.wandb.mode == "offline":
        return "offline"
    if has_wandb_login():
        return "online"
    logger.info("wandb: no login found, logging offline (wandb login, then wandb sync, to upload)")
    return "offline"


def has_wandb_login() -> bool:
    """Whether an API key is in the environment or the netrc file."""
    if os.environ.get("WANDB_API_KEY"):
        return True
    try:
        return netrc().authenticators("api.wandb.ai") is not None
    except (OSError, NetrcParseError):
        return False


def _start_sinks(run_dir: Path, config: Config, *, done: int, wandb_id: str) -> list[Sink]:
    sinks: list[Sink] = []
    if config.training.logging.tensorboard:
        sinks.append(TensorboardSink(run_dir / "tensorboard", done=done))
    mode = wandb_mode(config.training.logging)
    if mode != "disabled":
        sinks.append(WandbSink(run_dir, config, mode, wandb_id=wandb_id))
    return sinks


def _drop_lines_after(path: Path, done: int, *, validation: bool) -> None:
    if not path.exists():
        return
    kept = [entry for entry in read_metrics(path)[0] if entry["step"] <= done]
    if validation:
        kept = [entry for entry in kept if entry["step"] < done or not any(name.startswith("val") for name in entry)]
    with replacing(path) as temporary:
        temporary.write_text("".join(f"{json.dumps(entry)}\n" for entry in kept), encoding="utf-8")
