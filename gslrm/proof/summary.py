"""Many samples' records boiled down to what a report needs, in one pass and bounded memory."""

import math
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from gslrm.proof.drift import Drift, find_drift

METRICS = (
    "tangent",
    "swing",
    "hull",
    "keypoint",
    "share",
    "clipped",
    "sharpness",
    "exposure",
    "background",
    "saturated",
)
MAX_FAILURES = 2000  # with their sentences; more are counted only
MAX_DRIFT_SAMPLES = 2000  # whose tangent planes are kept, evenly spread

Row = tuple[float, float]


@dataclass
class Summary:
    """Totals, failures and each camera's figures over time; `x` of the rows is time, or the sample's number."""

    total: int = 0
    failed: int = 0
    warned: int = 0
    disagreeing: int = 0
    causes: Counter[str] = field(default_factory=Counter)
    sentences: dict[str, str] = field(default_factory=dict)
    """The first sentence about each cause."""
    warnings: Counter[str] = field(default_factory=Counter)
    failures: list[dict[str, Any]] = field(default_factory=list)
    """Sample, severity, reasons and diagnosis, the worst first."""
    series: dict[str, dict[str, list[Row]]] = field(default_factory=dict)
    """Metric to camera to (x, value), NaN where unknown, ordered by x."""
    drift: list[tuple[str, Drift]] = field(default_factory=list)
    """Cameras that are off in all samples, by name."""
    has_time: bool = True

    def quantiles(self, metric: str, camera: str) -> dict[str, float | None]:
        """5, 50 and 95 percent of one camera's figure; none if it was never measured."""
        values = [value for _, value in self.series[metric][camera] if not math.isnan(value)]
        levels = {"low": 0.05, "median": 0.5, "high": 0.95}
        return {key: float(np.quantile(values, level)) if values else None for key, level in levels.items()}

    @property
    def cameras(self) -> list[str]:
        """Names in the order of their first appearance."""
        return list(self.series.get("hull", {}))


def summarize(records: Iterable[Mapping[str, Any]]) -> Summary:
    """Read records (`Proof.record`) one by one, in any order."""
    summary, planes = Summary(), _Planes()
    for record in records:
        x = record["time"]
        summary.has_time &= x is not None
        _count(summary, record)
        for view in record["views"]:
            for metric in METRICS:
                rows = summary.series.setdefault(metric, {}).setdefault(view["name"], [])
                rows.append((float(summary.total if x is None else x), _number(view[metric])))
        planes.add(record)
    for cameras in summary.series.values():
        for rows in cameras.values():
            rows.sort()
    summary.failures.sort(key=lambda failure: -failure["severity"])
    summary.drift = planes.drift(summary)
    return summary


def _count(summary: Summary, record: Mapping[str, Any]) -> None:
    summary.total += 1
    summary.failed += not record["passed"]
    summary.warned += bool(record["warnings"])
    summary.disagreeing += record["disagrees"]
    summary.warnings.update(warning.partition(":")[0] for warning in record["warnings"])
    if record["cause"] is not None:
        summary.causes[record["cause"]] += 1
        summary.sentences.setdefault(record["cause"], record["diagnosis"])
    if not record["passed"] and len(summary.failures) < MAX_FAILURES:
        keys = ("sample", "severity", "reasons", "cause", "diagnosis")
        summary.failures.append({key: record[key] for key in keys})


class _Planes:
    """Tangent planes of at most `MAX_DRIFT_SAMPLES` evenly spread samples that do not disagree as a whole."""

    def __init__(self) -> None:
        self._kept: list[tuple[list[str], np.ndarray, np.ndarray, float]] = []
        self._stride, self._seen = 1, 0

    def add(self, record: Mapping[str, Any]) -> None:
        if record["disagrees"] or not record["planes"]:
            return
        if self._seen % self._stride == 0:
            names = [view["name"] for view in record["views"]]
            planes, shown = np.array(record["planes"]), [i for i, view in enumerate(record["views"]) if view["share"]]
            focal = np.full(len(names), np.nan)
            focal[shown] = record["focal"]
            self._kept.append((names, planes, focal[planes[:, :2].astype(int)], record["width"]))
        self._seen += 1
        if len(self._kept) > MAX_DRIFT_SAMPLES:
            self._kept, self._stride = self._kept[::2], 2 * self._stride

    def drift(self, summary: Summary) -> list[tuple[str, Drift]]:
        """Cameras off in all samples; none if the samples do not share their cameras."""
        names = self._kept[0][0] if self._kept else []
        same = [kept for kept in self._kept if kept[0] == names]
        if len(same) < 0.5 * summary.total / self._stride or not same:
            return []
        found = find_drift(
            np.concatenate([planes for _, planes, _, _ in same]),
            np.concatenate([focal for _, _, focal, _ in same]),
            samples=len(same),
            width=float(np.median([width for *_, width in same])),
        )
        return [(names[drift.view], drift) for drift in found]


def _number(value: float | None) -> float:
    return math.nan if value is None else float(value)
