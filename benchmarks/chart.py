"""A chart of the benchmark, drawn with Pillow: a plotting library for one picture would be a dependency for nothing."""

import math
from dataclasses import dataclass
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

SIZE, MARGIN = (1200, 760), (110, 60, 330, 90)  # px; left, top, right, bottom
COLOURS = ("#1f77b4", "#ff7f0e", "#2ca02c", "#d62728", "#9467bd", "#8c564b", "#e377c2", "#7f7f7f", "#17becf", "#bcbd22")
BLACK, GREY = "#222222", "#dddddd"
FONT_SIZE, MARKER = 18, 5  # px


@dataclass(frozen=True)
class Curve:
    """Points (x, y) under a name, both above 0; `colour` counts, `thin` is for what is only compared with."""

    name: str
    points: list[tuple[float, float]]
    colour: int
    thin: bool


def draw(path: Path, title: str, x_label: str, y_label: str, curves: list[Curve]) -> None:
    """Write curves on logarithmic axes to a picture file."""
    image = Image.new("RGB", SIZE, "white")
    pen, font = ImageDraw.Draw(image), ImageFont.load_default(FONT_SIZE)
    xs = sorted({x for curve in curves for x, _ in curve.points})
    across = _Axis(min(xs) / 1.2, max(xs) * 1.2, MARGIN[0], SIZE[0] - MARGIN[2])
    ys = [y for curve in curves for _, y in curve.points]
    up = _Axis(min(ys) / 1.4, max(ys) * 1.4, SIZE[1] - MARGIN[3], MARGIN[1])
    _draw_grid(pen, font, xs, across, up)
    pen.text((MARGIN[0], 18), f"{title} [{y_label}]", BLACK, font)
    pen.text((MARGIN[0], SIZE[1] - 36), x_label, BLACK, font)
    for number, curve in enumerate(curves):
        colour, width = COLOURS[curve.colour % len(COLOURS)], 1 if curve.thin else 3
        places = [(across.place(x), up.place(y)) for x, y in sorted(curve.points)]
        pen.line(places, colour, width)
        for x, y in places:
            pen.ellipse((x - MARKER, y - MARKER, x + MARKER, y + MARKER), "white" if curve.thin else colour, colour)
        at = (SIZE[0] - MARGIN[2] + 24, MARGIN[1] + 28 * number)
        pen.line([at, (at[0] + 26, at[1])], colour, width)
        pen.text((at[0] + 34, at[1] - FONT_SIZE / 2), curve.name, BLACK, font)
    image.save(path)


@dataclass(frozen=True)
class _Axis:
    low: float
    high: float
    start: float
    end: float

    def place(self, value: float) -> float:
        share = math.log(value / self.low) / math.log(self.high / self.low)
        return self.start + share * (self.end - self.start)

    def ticks(self) -> list[float]:
        decades = range(math.floor(math.log10(self.low)), math.ceil(math.log10(self.high)) + 1)
        values = [step * 10.0**decade for decade in decades for step in (1, 2, 5)]
        return [value for value in values if self.low <= value <= self.high]


def _draw_grid(
    pen: ImageDraw.ImageDraw, font: ImageFont.ImageFont | ImageFont.FreeTypeFont, xs: list[float], across: _Axis,
    up: _Axis,
) -> None:  # fmt: skip
    for y in up.ticks():
        pen.line([(across.start, up.place(y)), (across.end, up.place(y))], GREY)
        pen.text((across.start - 12, up.place(y)), f"{y:g}", BLACK, font, anchor="rm")
    for x in xs:
        pen.line([(across.place(x), up.start), (across.place(x), up.end)], GREY)
        pen.text((across.place(x), up.start + 10), f"{x:,g}", BLACK, font, anchor="mt")
