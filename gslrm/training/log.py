"""Where figures and pictures of a run go: metrics.jsonl always, wandb when it may."""

import json
import logging
import math
import os
from collections.abc import Mapping
from netrc import NetrcParseError, netrc
from pathlib import Path
from typing import Any, Literal

import numpy as np

from gslrm.config import Config, LoggingConfig
from gslrm.export import replacing, write_picture

METRICS_FILE = "metrics.jsonl"
logger = logging.getLogger(__name__)


class RunLog:
    """Scalars and pictures of one run; a resumed run continues the same files."""

    def __init__(self, run_dir: Path, config: Config, *, done: int, wandb_id: str):
        """Open the log; lines of passes after `done`, which a resumed run computes again, are dropped."""
        self.path = run_dir / METRICS_FILE
        self.pictures = Path(config.validation.output_dir or run_dir / "pictures")
        _drop_lines_after(self.path, done)
        self._file = self.path.open("a", encoding="utf-8")
        self._wandb = _start_wandb(run_dir, config.training.logging, config.model_dump(mode="json"), wandb_id)

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        """One line of metrics.jsonl, flushed, and the same in wandb; what is not finite is null, as JSON has no NaN."""
        finite = {name: value if math.isfinite(value) else None for name, value in values.items()}
        self._file.write(json.dumps({"step": step, **finite}) + "\n")
        self._file.flush()
        if self._wandb is not None:
            self._wandb.log(dict(values), step=step)

    def picture(self, step: int, name: str, picture: np.ndarray) -> Path:
        """A picture uint8 [H, W, 3] as `pictures/<name>_<step>.png`, and under `name` in wandb."""
        path = self.pictures / f"{name.replace('/', '_')}_{step:08d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        write_picture(path, picture)
        if self._wandb is not None:
            import wandb

            self._wandb.log({name: wandb.Image(str(path))}, step=step)
        return path

    def close(self) -> None:
        """Finish writing."""
        self._file.close()
        if self._wandb is not None:
            self._wandb.finish()


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


def _start_wandb(run_dir: Path, config: LoggingConfig, settings: Mapping[str, Any], wandb_id: str) -> Any:
    mode = wandb_mode(config)
    if mode == "disabled":
        return None
    import wandb

    return wandb.init(
        project=config.wandb.project,
        name=config.wandb.exp_name or run_dir.name,
        group=config.wandb.group,
        job_type=config.wandb.job_type,
        dir=str(run_dir),
        mode=mode,
        id=wandb_id,
        resume="allow",
        config=dict(settings),
        settings=wandb.Settings(silent=True, console="off"),
    )


def _drop_lines_after(path: Path, done: int) -> None:
    if not path.exists():
        return
    kept = []
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            entry = json.loads(line)
        except ValueError:  # a kill can cut the last line short
            continue
        if entry["step"] <= done:
            kept.append(line)
    with replacing(path) as temporary:
        temporary.write_text("".join(f"{line}\n" for line in kept), encoding="utf-8")
