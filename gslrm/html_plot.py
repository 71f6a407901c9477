"""Line, scatter and strip plots as inline SVG for `html_page`, coloured by the page's style sheet."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from gslrm.html_page import SERIES_LIGHT, Html, escape, number

WIDTH, HEIGHT = 560, 280
LEFT, RIGHT, TOP, BOTTOM = 62, 14, 34, 44
LEGEND_ROW = 18
CHARACTER = 7.2  # width of a letter of the legend, px
TICKS = 5
MAX_BINS = 300  # of a curve: longer ones are drawn as the lowest and highest value of each bin, so no outlier is lost
LEAST_LOG = 0.01
MAX_DOTS = 300  # of a scatter or strip plot; the extremes of each series always stay

Points = Sequence[tuple[float, float]]


@dataclass(frozen=True)
class Axes:
    """What a plot says beside its data; `limit` draws a dashed line across, named `limit_label`."""

    title: str
    x_label: str = ""
    y_label: str = ""
    limit: float | None = None
    limit_label: str = "limit"
    from_zero: bool = True
    """Whether the vertical axis includes 0."""
    logarithmic: bool = False
    """Whether the vertical axis is logarithmic, from `LEAST_LOG` on; values below are drawn there."""


def line_plot(series: Mapping[str, Points], axes: Axes) -> Html:
    """Curves (x, y), one per name; NaN breaks a curve."""
    marks = {name: _curve for name in series}
    return _plot(series, axes, marks)


def scatter_plot(series: Mapping[str, Points], axes: Axes) -> Html:
    """Dots (x, y), one colour per name; NaN is left out."""
    marks = {name: _dots for name in series}
    return _plot(series, axes, marks)


def strip_plot(groups: Mapping[str, Sequence[float]], axes: Axes) -> Html:
    """Every value of each group as a dot above the group's name, side by side; NaN is left out."""
    series = {
        name: [(index + _spread(rank), value) for rank, value in enumerate(values)]
        for index, (name, values) in enumerate(groups.items())
    }
    return _plot(series, axes, {name: _dots for name in series}, categories=list(groups))


def nice_ticks(low: float, high: float, count: int = TICKS) -> list[float]:
    """About `count` round numbers (1, 2 or 5 times a power of ten apart) that span `low` to `high`."""
    if not high > low:
        return [low]
    rough = (high - low) / count
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough * (1 - 1e-9))
    first = math.floor(low / step + 1e-9)
    last = math.ceil(high / step - 1e-9)
    return [0.0 if index == 0 else index * step for index in range(first, last + 1)]


@dataclass(frozen=True)
class _Frame:
    """Data to pixels of the drawing."""

    x_ticks: list[float]
    y_ticks: list[float]
    top: float
    logarithmic: bool = False

    def x(self, value: float) -> float:
        low, high = self.x_ticks[0], self.x_ticks[-1]
        return LEFT + (WIDTH - LEFT - RIGHT) * (value - low) / ((high - low) or 1)

    def y(self, value: float) -> float:
        low, high = self.y_ticks[0], self.y_ticks[-1]
        if self.logarithmic:
            low, high, value = (math.log10(max(number, LEAST_LOG)) for number in (low, high, value))
        return self.bottom - (self.bottom - self.top) * (value - low) / ((high - low) or 1)

    @property
    def bottom(self) -> float:
        return self.top + HEIGHT - TOP - BOTTOM


def _plot(series: Mapping[str, Points], axes: Axes, marks: Mapping, categories: list[str] | None = None) -> Html:
    finite = [point for points in series.values() for point in points if math.isfinite(point[0] + point[1])]
    if not finite:
        return Html(f"<p>{escape(axes.title)}: no values</p>")
    legend, rows = ("", 0) if categories is not None or len(series) < 2 else _legend(list(series))
    frame = _frame(finite, axes, rows, categories)
    height = frame.bottom + BOTTOM
    single = categories is not None
    drawn = [
        f'<g class="series-{0 if single else index % len(SERIES_LIGHT)}">{marks[name](points, frame, name)}</g>'
        for index, (name, points) in enumerate(series.items())
    ]
    return Html(
        f'<svg class="plot" viewBox="0 0 {WIDTH} {height:.0f}" role="img" aria-label="{escape(axes.title)}">'
        f'<text class="title" x="{LEFT}" y="16">{escape(axes.title)}</text>{legend}'
        f"{_grid(frame, axes, categories)}{''.join(drawn)}{_limit(frame, axes)}</svg>"
    )


def _frame(finite: Points, axes: Axes, legend_rows: int, categories: list[str] | None) -> _Frame:
    ys = [y for _, y in finite] + ([0.0] if axes.from_zero else []) + ([axes.limit] if axes.limit is not None else [])
    y_ticks = _powers(min(ys), max(ys)) if axes.logarithmic else _spanning(min(ys), max(ys))
    if categories is not None:
        return _Frame([-0.5, len(categories) - 0.5], y_ticks, float(TOP), axes.logarithmic)
    xs = [x for x, _ in finite]
    x_ticks = [min(xs), max(xs)] if max(xs) > min(xs) else [min(xs) - 0.5, max(xs) + 0.5]
    return _Frame(x_ticks, y_ticks, float(TOP + legend_rows * LEGEND_ROW), axes.logarithmic)


def _spanning(low: float, high: float) -> list[float]:
    if high > low:
        return nice_ticks(low, high)
    margin = 0.5 * abs(low) or 0.5
    return nice_ticks(low - margin, high + margin)


def _powers(low: float, high: float) -> list[float]:
    """Powers of ten that span the values, at least one decade."""
    first = math.floor(math.log10(max(low, LEAST_LOG)) + 1e-9)
    last = math.ceil(math.log10(max(high, LEAST_LOG)) - 1e-9)
    return [10.0**power for power in range(first, max(last, first + 1) + 1)]


def _grid(frame: _Frame, axes: Axes, categories: list[str] | None) -> str:
    right = WIDTH - RIGHT
    parts = []
    for value in frame.y_ticks:
        y = frame.y(value)
        parts.append(f'<line class="grid-line" x1="{LEFT}" x2="{right}" y1="{y:.1f}" y2="{y:.1f}"/>')
        parts.append(f'<text x="{LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{number(value)}</text>')
    if categories is not None:
        names = [(frame.x(float(index)), name) for index, name in enumerate(categories)]
    else:
        low, high = frame.x_ticks
        inside = [value for value in nice_ticks(low, high) if low <= value <= high]
        names = [(frame.x(value), number(value)) for value in inside]
    for x, name in names:
        parts.append(f'<text x="{x:.1f}" y="{frame.bottom + 16:.1f}" text-anchor="middle">{escape(name)}</text>')
    parts.append(f'<line class="axis" x1="{LEFT}" x2="{right}" y1="{frame.bottom}" y2="{frame.bottom}"/>')
    middle, centre = (LEFT + right) / 2, (frame.top + frame.bottom) / 2
    parts.append(f'<text x="{middle}" y="{frame.bottom + 34:.0f}" text-anchor="middle">{escape(axes.x_label)}</text>')
    parts.append(
        f'<text transform="translate(14 {centre:.0f}) rotate(-90)" text-anchor="middle">{escape(axes.y_label)}</text>'
    )
    return "".join(parts)


def _limit(frame: _Frame, axes: Axes) -> str:
    if axes.limit is None:
        return ""
    y = frame.y(axes.limit)
    return (
        f'<line class="limit" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>'
        f'<text class="limit-label" x="{WIDTH - RIGHT}" y="{y - 5:.1f}" text-anchor="end">'
        f"{escape(axes.limit_label)} {number(axes.limit)}</text>"
    )


def _legend(names: list[str]) -> tuple[str, int]:
    parts, x, row = [], float(LEFT), 0
    for index, name in enumerate(names):
        width = 28 + CHARACTER * len(name)
        if x + width > WIDTH - RIGHT and x > LEFT:
            x, row = float(LEFT), row + 1
        y = 32 + row * LEGEND_ROW
        parts.append(
            f'<g class="series-{index % len(SERIES_LIGHT)}"><rect class="key" x="{x:.0f}" y="{y - 9}" width="10" '
            f'height="10" rx="2"/><text x="{x + 14:.0f}" y="{y}">{escape(name)}</text></g>'
        )
        x += width
    return "".join(parts), row + 1


def _curve(points: Points, frame: _Frame, name: str) -> str:
    path, pen = [], "M"
    for x, y in _envelope(points):
        if not math.isfinite(x + y):
            pen = "M"
            continue
        path.append(f"{pen}{frame.x(x):.1f} {frame.y(y):.1f}")
        pen = "L"
    return f'<path class="curve" d="{"".join(path)}"><title>{escape(name)}</title></path>'


def _dots(points: Points, frame: _Frame, name: str) -> str:
    finite = [point for point in points if math.isfinite(point[0] + point[1])]
    return "".join(
        f'<circle class="dot" cx="{frame.x(x):.1f}" cy="{frame.y(y):.1f}" r="3">'
        f"<title>{escape(name)}: {number(y)}</title></circle>"
        for x, y in _thinned(finite)
    )


def _envelope(points: Points) -> Points:
    """A long curve as the first lowest and highest point of each of `MAX_BINS` runs, in their order."""
    if len(points) <= 2 * MAX_BINS:
        return points
    kept: list[tuple[float, float]] = []
    for index in range(MAX_BINS):
        run = points[index * len(points) // MAX_BINS : (index + 1) * len(points) // MAX_BINS]
        finite = [point for point in run if math.isfinite(point[0] + point[1])]
        if not finite:
            kept.append((run[0][0], math.nan))
            continue
        extremes = {min(finite, key=_height), max(finite, key=_height)}
        kept.extend(sorted(extremes))
    return kept


def _thinned(points: Points) -> Points:
    """Evenly spread points of a long list, with its extremes."""
    if len(points) <= MAX_DOTS:
        return points
    spread = [points[index * len(points) // MAX_DOTS] for index in range(MAX_DOTS)]
    ranked = sorted(points, key=_height)
    return spread + ranked[:10] + ranked[-10:]


def _height(point: tuple[float, float]) -> float:
    return point[1]


def _spread(rank: int) -> float:
    """Sideways place of a dot in its strip, within 0.3: steps of the golden ratio look random and repeat exactly."""
    return 0.6 * ((rank * 0.6180339887) % 1 - 0.5)
