"""The proof of one sample: that its cameras, pictures and masks belong together."""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from gslrm.cameras import Cameras
from gslrm.proof.diagnosis import Diagnosis, diagnose
from gslrm.proof.hull import HullMiss, hull_miss
from gslrm.proof.keypoints import reprojection_errors
from gslrm.proof.limits import REFERENCE_WIDTH, Limits
from gslrm.proof.pinholes import Pinholes
from gslrm.proof.quality import quality
from gslrm.proof.silhouettes import Silhouette, silhouette
from gslrm.proof.tangents import Rims, Tangents, tangents
from gslrm.proof.verdict import Figures, Verdict, ViewFigures, judge, severity

LEAST_DIAGNOSED = 3  # views: with two there is nothing to tell one cause from another by

DEFAULTS = Limits()


@dataclass(frozen=True)
class Geometry:
    """Measured agreement of the views that show something: `views` are their numbers among all views."""

    views: list[int]
    tangents: Tangents
    hull: HullMiss
    focal: list[float]


@dataclass(frozen=True)
class Proof:
    """Figures, verdict and, where views disagree, the likely cause; `geometry` is none with fewer than two views."""

    figures: Figures
    verdict: Verdict
    diagnosis: Diagnosis | None
    geometry: Geometry | None
    severity: float

    @property
    def passed(self) -> bool:
        """Whether nothing speaks against the sample."""
        return not self.verdict.reasons

    @property
    def reasons(self) -> tuple[str, ...]:
        """Sentences that say why it fails."""
        return self.verdict.reasons

    def record(self, sample: str, time: float | None = None) -> dict[str, Any]:
        """Everything as numbers, strings, lists and mappings for JSON; what is not known is none.

        Args:
            sample: its name.
            time: seconds or frame number, for plots over time.
        """
        content = {
            "sample": sample,
            "time": time,
            "passed": self.passed,
            "severity": self.severity,
            "reasons": list(self.verdict.reasons),
            "warnings": list(self.verdict.warnings),
            "disagrees": self.verdict.disagrees,
            "suspects": [self.figures.views[view].name for view in self.verdict.suspects],
            "cause": None if self.diagnosis is None else self.diagnosis.cause,
            "diagnosis": None if self.diagnosis is None else self.diagnosis.text,
            "tangent": self.figures.tangent,
            "hull": self.figures.hull,
            "width": self.figures.width,
            "views": [_flat(view) for view in self.figures.views],
            "planes": [] if self.geometry is None else _planes(self.geometry),
            "focal": [] if self.geometry is None else self.geometry.focal,
        }
        return _for_json(content)


def prove(
    names: Sequence[str],
    images: Sequence[np.ndarray],
    coverages: Sequence[np.ndarray],
    cameras: Sequence[Cameras],
    *,
    keypoints: np.ndarray | None = None,
    limits: Limits = DEFAULTS,
    with_diagnosis: bool = True,
) -> Proof:
    """Measure one sample and judge it.

    Args:
        names: of the views.
        images: one per view, uint8 or float in [0, 1], [H, W, 3], RGB.
        coverages: masks, float32 [H, W] in [0, 1].
        cameras: unbatched pinhole cameras of these very pictures, in any world and unit.
        keypoints: pixels [V, J, 2] in these pictures, NaN where not marked.
        limits: what must be kept to.
        with_diagnosis: look for the cause where views disagree, which takes about half a second.

    Raises:
        ValueError: numbers of views, or sizes of pictures, masks and cameras, differ.
    """
    _require_match(names, images, coverages, cameras)
    pinholes = Pinholes.from_cameras(cameras)
    found = [silhouette(np.asarray(coverage, np.float32)) for coverage in coverages]
    geometry = _geometry(found, pinholes)
    width = float(pinholes.size[:, 0].mean())
    marked = np.full((len(names), 0, 2), np.nan) if keypoints is None else np.asarray(keypoints, np.float64)
    views = _views(names, images, coverages, found, geometry, reprojection_errors(marked, pinholes), limits)
    tangent = math.nan if geometry is None else geometry.tangents.median
    hull = math.nan if geometry is None else geometry.hull.mean
    figures = Figures(views, tangent, hull, width)
    verdict = judge(figures, limits)
    diagnosis = None
    if with_diagnosis and geometry is not None and (verdict.disagrees or verdict.suspects):
        diagnosis = _cause(names, found, pinholes, geometry, verdict)
    return Proof(figures, verdict, diagnosis, geometry, severity(figures, limits))


def _geometry(found: Sequence[Silhouette | None], pinholes: Pinholes) -> Geometry | None:
    views = [index for index, measured in enumerate(found) if measured is not None]
    silhouettes = [measured for measured in found if measured is not None]
    if len(views) < 2:
        return None
    cameras = pinholes.take(views)
    focal = np.abs(cameras.focal).mean(axis=1).tolist()
    return Geometry(views, tangents(Rims.of(silhouettes), cameras), hull_miss(silhouettes, cameras), focal)


def _cause(
    names: Sequence[str], found: Sequence[Silhouette | None], pinholes: Pinholes, geometry: Geometry, verdict: Verdict
) -> Diagnosis | None:
    if len(geometry.views) < LEAST_DIAGNOSED:
        return None
    silhouettes = [measured for measured in found if measured is not None]
    suspects = [geometry.views.index(view) for view in verdict.suspects]
    return diagnose(silhouettes, pinholes.take(geometry.views), [names[view] for view in geometry.views], suspects)


def _views(
    names: Sequence[str],
    images: Sequence[np.ndarray],
    coverages: Sequence[np.ndarray],
    found: Sequence[Silhouette | None],
    geometry: Geometry | None,
    keypoint_error: np.ndarray,
    limits: Limits,
) -> tuple[ViewFigures, ...]:
    agreement = _agreement(len(names), geometry, limits.mask_tolerance * coverages[0].shape[1] / REFERENCE_WIDTH)
    views = []
    for index, name in enumerate(names):
        errors = keypoint_error[index][~np.isnan(keypoint_error[index])]
        views.append(
            ViewFigures(
                name=name,
                **agreement[index],
                keypoint=float(np.median(errors)) if len(errors) else math.nan,
                quality=quality(images[index], coverages[index], found[index]),
            )
        )
    return tuple(views)


def _agreement(count: int, geometry: Geometry | None, tolerance: float) -> list[dict[str, float]]:
    """For each of all views its figures of agreement; NaN for views that show nothing."""
    keys = ("tangent", "swing", "others", "hull", "lacking", "excess")
    result = [dict.fromkeys(keys, math.nan) for _ in range(count)]
    if geometry is None:
        return result
    seen, planes, hull = len(geometry.views), geometry.tangents, geometry.hull
    columns = zip(
        planes.by_view(seen),
        planes.swing(seen),
        planes.without_view(seen),
        hull.by_view(),
        hull.lacking(tolerance),
        hull.excess(tolerance),
        strict=True,
    )
    for view, row in zip(geometry.views, columns, strict=True):
        result[view] = dict(zip(keys, row, strict=True))
    return result


def _planes(geometry: Geometry) -> list[list[float]]:
    """Usable tangent planes as rows (first view, second view, error, first normal, second normal), for `drift`."""
    found, views = geometry.tangents, np.array(geometry.views)
    columns = (views[found.first], views[found.second], found.error, found.first_normal, found.second_normal)
    return np.column_stack(columns)[found.usable].round(3).tolist()


def _flat(view: ViewFigures) -> dict[str, Any]:
    content = asdict(view)
    return content | content.pop("quality")


def _for_json(value: Any) -> Any:
    """Numbers to five significant digits, NaN and infinity to none."""
    if isinstance(value, dict):
        return {key: _for_json(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_for_json(item) for item in value]
    if isinstance(value, float):
        return float(f"{value:.5g}") if math.isfinite(value) else None
    return value


def _require_match(
    names: Sequence[str], images: Sequence[np.ndarray], coverages: Sequence[np.ndarray], cameras: Sequence[Cameras]
) -> None:
    if not len(names) == len(images) == len(coverages) == len(cameras) or not len(names):
        raise ValueError(
            f"{len(names)} names, {len(images)} images, {len(coverages)} masks and {len(cameras)} cameras do not match"
        )
    for name, image, coverage, camera in zip(names, images, coverages, cameras, strict=True):
        size = (camera.height, camera.width)
        if image.shape[:2] != size or coverage.shape != size:
            raise ValueError(f"{name}: image {image.shape}, mask {coverage.shape} and camera {size} differ in size")
