"""Labelled rows and columns of cells as one picture: uint8 arrays [h, w, 3]."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, UInt8
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from gslrm.export import as_uint8
from gslrm.visualize.colours import HEAT, Stops, colour_ramp

Picture = UInt8[np.ndarray, "_ _ 3"]
Font = ImageFont.FreeTypeFont | ImageFont.ImageFont
Colour = tuple[int, int, int]
Rows = dict[str, Float[Tensor, "v 3 h w"]]

MIN_CELL, MAX_CELL = 160, 512  # pixels across a view on a sheet
PAPER, INK = (222, 224, 228), (20, 22, 28)  # a sheet is darker than the white background of the views
BAND = 8  # pixels of the coloured band above a column
GAP = 4


@dataclass(frozen=True)
class Column:
    """What stands above one column; `band` colours a strip under the heading, so that kinds tell apart at a glance."""

    heading: str
    band: Colour | None = None


@dataclass(frozen=True)
class Scale:
    """A map's colours and the numbers at its ends, to be drawn below a sheet."""

    caption: str
    low: float
    high: float
    stops: Stops = tuple(HEAT)
    open_end: bool = False
    """Whether values beyond `high` have its colour too."""


def sheet(rows: Rows, columns: Sequence[Column]) -> Picture:
    """Rows of cells with their names at the left, the headings above the columns."""
    count, _, height, width = next(iter(rows.values())).shape
    left, size = _margins(rows)
    lines = max(column.heading.count("\n") + 1 for column in columns)
    top = round(size * 1.35 * lines) + BAND + 2 * GAP
    paper = Image.new("RGB", (left + count * (width + GAP), top + len(rows) * (height + GAP)), PAPER)
    draw = ImageDraw.Draw(paper)
    for number, column in enumerate(columns):
        x = left + number * (width + GAP)
        font = _fitting_font(column.heading, size, width)
        draw.multiline_text((x + width / 2, (top - BAND) / 2), column.heading, INK, font, "mm", align="center")
        if column.band is not None:
            draw.rectangle((x, top - BAND, x + width - 1, top - 2), column.band)
    for row, (label, cells) in enumerate(rows.items()):
        y = top + row * (height + GAP)
        draw.multiline_text((left - GAP, y + height / 2), label, INK, _font(size), "rm", align="right")
        for number, cell in enumerate(cells):
            paper.paste(Image.fromarray(as_uint8(cell)), (left + number * (width + GAP), y))
    return np.array(paper)


def scale_strip(rows: Rows, scale: Scale) -> Picture:
    """A strip as wide as the rows' sheet with a map's colours and their numbers."""
    count, _, _, cell = next(iter(rows.values())).shape
    left, size = _margins(rows)
    strip = Image.new("RGB", (left + count * (cell + GAP), 3 * size), PAPER)
    draw = ImageDraw.Draw(strip)
    bar = min(cell * min(count, 2) // 2, 500)
    ramp = colour_ramp(torch.linspace(0, 1, bar).expand(1, 1, size, bar), scale.stops)[0]
    x = strip.width - bar - 2 * size
    strip.paste(Image.fromarray(as_uint8(ramp)), (x, GAP))
    for share in (0, 1 / 3, 2 / 3, 1):
        text = f"{scale.low + share * (scale.high - scale.low):.3g}" + ("+" if share == 1 and scale.open_end else "")
        draw.text((x + share * bar, 2 * GAP + size), text, INK, _font(size), "ma")
    end = x - 2 * size  # the first number is centred below the bar's end
    draw.multiline_text((end, GAP), scale.caption, INK, _fitting_font(scale.caption, size, end), "ra", align="right")
    return np.array(strip)


def with_scale(rows: Rows, columns: Sequence[Column], scale: Scale) -> Picture:
    """A sheet with the scale of its map below."""
    return np.concatenate([sheet(rows, columns), scale_strip(rows, scale)])


def fit(images: Float[Tensor, "v c h w"]) -> Float[Tensor, "v c h2 w2"]:
    """Images in the size of a cell: enlarged by whole pixels, or reduced by averaging."""
    height, width = images.shape[-2:]
    if width > MAX_CELL:
        return torch.nn.functional.interpolate(images, (round(height * MAX_CELL / width), MAX_CELL), mode="area")
    factor = -(-MIN_CELL // width)
    if factor == 1:
        return images
    return images.repeat_interleave(factor, dim=-2).repeat_interleave(factor, dim=-1)


def _margins(rows: Rows) -> tuple[int, int]:
    """Width of the column of row names and size of the text, in pixels."""
    size = min(32, max(13, next(iter(rows.values())).shape[-1] // 16))
    return round(max(_width(label, _font(size)) for label in rows)) + 3 * GAP, size


def _fitting_font(text: str, size: int, width: int) -> Font:
    """The font at `size`, or at the largest smaller size that fits, but legible."""
    return next((font for font in map(_font, range(size, 8, -1)) if _width(text, font) <= width), _font(8))


def _font(size: int) -> Font:
    return ImageFont.load_default(size)


def _width(text: str, font: Font) -> float:
    return max(font.getlength(line) for line in text.split("\n"))
