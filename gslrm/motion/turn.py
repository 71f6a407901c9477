"""How evenly the picture changes while a camera goes once around: whether an object is solid or pictures on cards."""

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from gslrm.html_page import Html, bullets, figures, number, page, paragraph, verdict
from gslrm.html_plot import Axes, line_plot
from gslrm.types import Rendering

LEVELS = 255  # changes are told in grey levels
NEAR_VIEW = 12.0  # degrees on either side of an input view in which its peak is looked for
SPIKE = 2.0  # times the usual change: true objects, long mice too, stay below (docs/motion.md)
BREAK = (math.nan, math.nan)  # between two lines of one curve
DEFINITION = (
    "image change per degree: the sum over all pixels of the mean absolute difference in R, G, B between neighbouring "
    "frames, divided by the angle between them and by the object's mean area, in grey levels of 255"
)


@dataclass(frozen=True)
class InputView:
    """An input camera by name, with the azimuth at which the turn passes before it, in degrees."""

    name: str
    azimuth: float


class TurnMeter:
    """Passes the renderings [1, ...] of one closed turn on and measures how much the picture changes between them."""

    def __init__(self, renderings: Iterable[Rendering]) -> None:
        self._renderings = renderings
        self._steps: list[float] = []
        self._areas: list[float] = []

    def __iter__(self) -> Iterator[Rendering]:
        first = before = None
        for rendering in self._renderings:
            picture = rendering.rgb[0].clamp(0, 1)
            if before is not None:
                self._steps.append(_difference(before, picture))
            first = picture if first is None else first
            before = picture
            self._areas.append(float(rendering.alpha.sum()))
            yield rendering
        if first is not None and before is not None:
            self._steps.append(_difference(before, first))

    def changes(self) -> list[float]:
        """Image change per degree after each frame, the last one back to the first: see `DEFINITION`; 0 of nothing."""
        area = sum(self._areas) / max(len(self._areas), 1)
        angle = 360 / max(len(self._steps), 1)
        return [LEVELS * step / angle / area if area else 0.0 for step in self._steps]


def turn_figures(changes: Sequence[float], views: Sequence[InputView]) -> dict[str, Any]:
    """What the changes of one turn say, for a JSON file.

    `relative` are the changes in units of their median, `spike` is the largest of them. A solid object's change is
    even; that of pictures which hang before their own cameras peaks whenever the turn passes one. `views` hold each
    input view's azimuth with its peak, the largest relative change within 12 degrees; `views_with_spike` counts peaks
    above 2.
    """
    count = len(changes)
    median = float(torch.tensor(changes, dtype=torch.float64).quantile(0.5)) if count else 0.0
    relative = [change / median for change in changes] if median else []
    at = [(number + 0.5) * 360 / count for number in range(len(relative))]
    peaks = [
        max((value for angle, value in zip(at, relative, strict=True) if _apart(angle, view.azimuth) <= NEAR_VIEW),
            default=None)
        for view in views
    ]  # fmt: skip
    return {
        "definition": DEFINITION,
        "degrees_per_frame": 360 / count if count else None,
        "median_change": median,
        "spike": max(relative, default=None),
        "spike_azimuth": at[relative.index(max(relative))] if relative else None,
        "views_with_spike": sum(peak is not None and peak > SPIKE for peak in peaks),
        "views": [
            {"name": view.name, "azimuth": view.azimuth, "peak": peak} for view, peak in zip(views, peaks, strict=True)
        ],
        "azimuths": at,
        "relative": relative,
    }


def turn_page(title: str, found: dict[str, Any]) -> str:
    """The figures of `turn_figures` as a page with their plot, on which the input views' azimuths are marked."""
    if found["spike"] is None:
        return page(title, [verdict("There is nothing to be seen on this turn.", "unsure")])
    spiky = found["views_with_spike"]
    count = len(found["views"])
    told = (
        verdict(f"The picture jumps at {spiky} of {count} input views: pictures hang before their cameras.", "bad")
        if spiky
        else verdict("The picture changes evenly: no spike at an input view.", "good")
    )
    headline = {
        "largest / usual change": number(found["spike"]),
        "input views with a spike": f"{spiky} of {count}",
        "usual change (levels per degree)": number(found["median_change"]),
    }
    notes = [
        f"{DEFINITION[0].upper()}{DEFINITION[1:]}.",
        "Six pictures that cross in the middle of the object do not jump; look at the video for those.",
    ]
    return page(title, [told, figures(headline), _plot(found), *(paragraph(note, "note") for note in notes),
                        bullets(_told(view) for view in found["views"])])  # fmt: skip


def _plot(found: dict[str, Any]) -> Html:
    top = max(1.1 * found["spike"], 1.1 * SPIKE)
    marks = [point for view in found["views"] for point in ((view["azimuth"], 0.0), (view["azimuth"], top), BREAK)]
    curves = {"change": list(zip(found["azimuths"], found["relative"], strict=True)), "input views": marks}
    axes = Axes(
        title="image change per degree around the object",
        x_label="azimuth (degrees)",
        y_label="change / median",
        limit=SPIKE,
        limit_label="spike from",
    )
    return line_plot(curves, axes)


def _told(view: dict[str, Any]) -> str:
    return f"{view['name']} at {view['azimuth']:.0f} degrees: peak {number(view['peak'])}"


def _difference(left: torch.Tensor, right: torch.Tensor) -> float:
    return float((left - right).abs_().sum()) / 3


def _apart(left: float, right: float) -> float:
    return abs((left - right + 180) % 360 - 180)
