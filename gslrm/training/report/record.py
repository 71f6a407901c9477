"""What lies in a run folder, whether the run is finished, going on, or was killed."""

import json
import math
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gslrm.config import Config
from gslrm.config_io import load_config
from gslrm.errors import UserError
from gslrm.training.log import METRICS_FILE, pictures_folder, read_metrics

PICTURE_NAME = re.compile(r"(?P<name>.+)_(?P<step>\d{8,})\.png")


@dataclass(frozen=True)
class Drawn:
    """One picture of a run: its logged name with `_` for `/`, and the pass it was drawn after."""

    name: str
    step: int
    path: Path


@dataclass(frozen=True)
class RunRecord:
    """Figures, pictures and settings of a run; what is missing or damaged is named in `problems`."""

    folder: Path
    entries: list[dict[str, Any]]
    config_text: str
    config: Config | None
    environment: dict[str, Any]
    drawn: list[Drawn]
    """By name, then by pass."""
    problems: list[str]

    @property
    def name(self) -> str:
        """The folder's name."""
        return self.folder.resolve().name

    @property
    def last_pass(self) -> int:
        """The last pass with a figure; 0 for none."""
        return max((entry["step"] for entry in self.entries), default=0)

    @property
    def asked_passes(self) -> int | None:
        """Passes that the schedule asks for at most, none where the configuration cannot be read."""
        if self.config is None:
            return None
        schedule = self.config.training.schedule
        return min(schedule.max_fwdbwd_passes, schedule.early_stop_after or schedule.max_fwdbwd_passes)

    def names(self, prefix: str) -> list[str]:
        """Logged names of figures that begin with `prefix`, in order of appearance."""
        found = (name for entry in self.entries for name, value in entry.items() if _is_figure(value))
        return [name for name in dict.fromkeys(found) if name.startswith(prefix)]

    def series(self, name: str) -> list[tuple[float, float]]:
        """(pass, value) of a figure, ascending; NaN where it was not finite."""
        points = [(float(entry["step"]), _value(entry[name])) for entry in self.entries if name in entry]
        return sorted(points, key=lambda point: point[0])

    def latest(self, name: str, step: int | None = None) -> float | None:
        """The last value of a figure up to pass `step`; none where there is none."""
        values = [value for at, value in self.series(name) if step is None or at <= step]
        return values[-1] if values else None

    def pictures(self, name: str) -> list[Drawn]:
        """Pictures of a name, ascending."""
        return [drawn for drawn in self.drawn if drawn.name == name]


def read_run(folder: Path) -> RunRecord:
    """Read a run folder, as far as it goes.

    Raises:
        UserError: there is no run in the folder.
    """
    metrics, settings = folder / METRICS_FILE, folder / "config.yaml"
    if not metrics.is_file() and not settings.is_file():
        raise UserError(f"{folder} is no run folder, it has no {METRICS_FILE}; give the --run-dir of train_gslrm.py")
    problems: list[str] = []
    entries, damaged = read_metrics(metrics) if metrics.is_file() else ([], 0)
    if damaged:
        problems.append(f"{METRICS_FILE}: {damaged} damaged line(s) left out; a kill cuts the last line short")
    if not entries:
        problems.append(f"{METRICS_FILE}: no figures yet")
    config = _read_config(settings, problems)
    pictures = folder / "pictures" if config is None else pictures_folder(folder, config)
    return RunRecord(
        folder=folder,
        entries=entries,
        config_text=settings.read_text(encoding="utf-8", errors="replace") if settings.is_file() else "",
        config=config,
        environment=_read_environment(folder / "environment.json", problems),
        drawn=_find_pictures(pictures),
        problems=problems,
    )


def _read_config(path: Path, problems: list[str]) -> Config | None:
    if not path.is_file():
        problems.append("config.yaml: missing")
        return None
    try:
        return load_config(path)
    except UserError as error:
        problems.append(f"config.yaml: this version cannot use it ({error})")
        return None


def _read_environment(path: Path, problems: list[str]) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        problems.append(f"environment.json: {'missing' if isinstance(error, FileNotFoundError) else error}")
        return {}
    return content if isinstance(content, dict) else {}


def _find_pictures(folder: Path) -> list[Drawn]:
    matches: Iterable[tuple[Path, re.Match[str] | None]] = (
        (path, PICTURE_NAME.fullmatch(path.name)) for path in folder.glob("*.png")
    )
    found = [Drawn(match["name"], int(match["step"]), path) for path, match in matches if match]
    return sorted(found, key=lambda drawn: (drawn.name, drawn.step))


def _is_figure(value: object) -> bool:
    return value is None or (isinstance(value, int | float) and not isinstance(value, bool))


def _value(value: object) -> float:
    return float(value) if isinstance(value, int | float) else math.nan
