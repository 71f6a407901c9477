"""Tensors -> pictures for people: comparison grids, error heat maps, mask overlays; uint8 arrays [h, w, 3].

The sheets have one column per view and the same order of views every time, so pictures of different steps compare.
"""

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Bool, Float, UInt8
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from gslrm import metrics
from gslrm.export import as_uint8
from gslrm.types import Rendering, Views

Picture = UInt8[np.ndarray, "_ _ 3"]
Font = ImageFont.FreeTypeFont | ImageFont.ImageFont

MAX_ERROR = 0.3  # colour error at the hot end of the heat map
MIN_CELL, MAX_CELL = 160, 512  # pixels across a view on a sheet
MAX_COLUMNS = 6  # of an overview
HEAT = ((0.0, 0.0, 1.0), (0.0, 1.0, 0.0), (1.0, 1.0, 0.0), (1.0, 0.0, 0.0))  # blue, green, yellow, red
OUTSIDE = 0.3  # grey of the heat map's background
TINT, TINT_STRENGTH = (0.1, 0.8, 0.3), 0.35  # of a mask laid over an image
CONTOUR = (1.0, 0.0, 0.6)
PAPER, INK = (222, 224, 228), (20, 22, 28)  # a sheet is darker than the white background of the views
GAP = 4


def gt_vs_pred_grid(
    target: Views, rendering: Rendering, view_index: Sequence[int] | None = None, max_error: float = MAX_ERROR
) -> Picture:
    """Ground truth against rendering in five rows, one column per view of `target` `[v]`.

    Rows: ground truth; rendering; ground truth with its mask; rendering with its own alpha, outlined by the true
    mask; colour error. `view_index` names the columns and defaults to 0, 1, 2, ...
    """
    target, rendering = target.to("cpu").float(), rendering.to("cpu").float()
    index = range(len(target.images)) if view_index is None else view_index
    headers = [f"view {i}{_decibels(target, rendering, column)}" for column, i in enumerate(index)]
    truth, rendered = _fit(target.images), _fit(rendering.rgb)
    mask, alpha = _fit(target.masks), _fit(rendering.alpha)
    rows = {
        "ground\ntruth": truth,
        "rendered": rendered,
        "truth\n+ mask": mask_overlay(truth, mask, mask),
        "rendered\n+ alpha\n(outline:\ntrue mask)": mask_overlay(rendered, alpha, mask),
        "error": _fit(error_heat_map(rendering.rgb, target.images, target.masks, max_error)),
    }
    return np.concatenate([_sheet(rows, headers), _error_scale(rows, max_error)])


def overview(
    target: Views,
    rendering: Rendering,
    names: Sequence[str],
    is_input: Sequence[bool],
    max_error: float = MAX_ERROR,
) -> Picture:
    """Ground truth, rendering and colour error of at most six views `[v]`, input views first.

    `names` name the views, `is_input` tells which were given to the model. Of more than six views, evenly spread ones
    are shown, half of them held out where there are enough.
    """
    target, rendering = target.to("cpu").float(), rendering.to("cpu").float()
    columns = _choose(is_input)
    kinds = {True: "input", False: "held-out"}
    headers = [f"{names[i]}  {kinds[bool(is_input[i])]}{_decibels(target, rendering, i)}" for i in columns]
    heat = error_heat_map(rendering.rgb[columns], target.images[columns], target.masks[columns], max_error)
    rows = {
        "ground\ntruth": _fit(target.images[columns]),
        "rendered": _fit(rendering.rgb[columns]),
        "error": _fit(heat),
    }
    return np.concatenate([_sheet(rows, headers), _error_scale(rows, max_error)])


def mask_debug_picture(image: Float[Tensor, "3 h w"], mask: Float[Tensor, "1 h w"], title: str = "") -> Picture:
    """Image | mask | overlay with contour, and the foreground's share of the picture in words."""
    image, mask = _fit(image.detach().cpu().float()[None]), _fit(mask.detach().cpu().float()[None])
    share = (mask > metrics.FOREGROUND).float().mean().item()
    cells = torch.cat([image, mask.expand_as(image), mask_overlay(image, mask, mask)])
    return _sheet({title: cells}, ["image", f"mask: {share:.2%} foreground", "overlay"])


def error_heat_map(
    rendering: Float[Tensor, "v 3 h w"],
    target: Float[Tensor, "v 3 h w"],
    mask: Float[Tensor, "v 1 h w"],
    max_error: float = MAX_ERROR,
) -> Float[Tensor, "v 3 h w"]:
    """Mean absolute error over the channels as a colour, blue at 0 to red at `max_error`; grey outside the mask."""
    error = (rendering.clamp(0, 1) - target).abs().mean(dim=1, keepdim=True)
    return torch.where(mask > metrics.FOREGROUND, _heat(error / max_error), torch.full_like(error, OUTSIDE))


def mask_overlay(
    image: Float[Tensor, "v 3 h w"], tint: Float[Tensor, "v 1 h w"], outline: Float[Tensor, "v 1 h w"]
) -> Float[Tensor, "v 3 h w"]:
    """Images tinted green by a coverage, with the contour of a mask as a line."""
    strength = TINT_STRENGTH * tint
    tinted = (1 - strength) * image.clamp(0, 1) + strength * torch.tensor(TINT)[:, None, None]
    return torch.where(_contour(outline), torch.tensor(CONTOUR)[:, None, None], tinted)


def _heat(value: Float[Tensor, "v 1 h w"]) -> Float[Tensor, "v 3 h w"]:
    stops = torch.tensor(HEAT)
    position = value[:, 0].clamp(0, 1) * (len(HEAT) - 1)
    left = position.floor().clamp(max=len(HEAT) - 2).long()
    return torch.lerp(stops[left], stops[left + 1], (position - left)[..., None]).movedim(-1, 1)


def _contour(mask: Float[Tensor, "v 1 h w"]) -> Bool[Tensor, "v 1 h w"]:
    """The pixels just outside the mask, so that a thin tail stays visible; two pixels thick on large cells."""
    inside = mask > metrics.FOREGROUND
    reach = 1 if mask.shape[-1] <= 256 else 2
    near_inside = torch.nn.functional.max_pool2d(inside.float(), 2 * reach + 1, stride=1, padding=reach) > 0
    return near_inside & ~inside


def _fit(images: Float[Tensor, "v c h w"]) -> Float[Tensor, "v c h2 w2"]:
    """Images in the size of a cell: enlarged by whole pixels, or reduced by averaging."""
    height, width = images.shape[-2:]
    if width > MAX_CELL:
        return torch.nn.functional.interpolate(images, (round(height * MAX_CELL / width), MAX_CELL), mode="area")
    factor = -(-MIN_CELL // width)
    return images.repeat_interleave(factor, dim=-2).repeat_interleave(factor, dim=-1)


def _choose(is_input: Sequence[bool]) -> list[int]:
    groups = [[i for i, given in enumerate(is_input) if given], [i for i, given in enumerate(is_input) if not given]]
    shown = max(MAX_COLUMNS // 2, MAX_COLUMNS - len(groups[1]))
    return _spread(groups[0], shown) + _spread(groups[1], MAX_COLUMNS - min(shown, len(groups[0])))


def _spread(items: list[int], count: int) -> list[int]:
    if len(items) <= count:
        return items
    return [items[i * len(items) // count] for i in range(count)]


def _decibels(target: Views, rendering: Rendering, view: int) -> str:
    if not metrics.has_foreground(target.masks[view]):
        return "\nno foreground"
    score = metrics.psnr_foreground(rendering.rgb[view], target.images[view], target.masks[view])
    return f"\nPSNR_fg {score.item():.1f} dB"


# Sheets


def _sheet(rows: dict[str, Float[Tensor, "v 3 h w"]], headers: Sequence[str]) -> Picture:
    """Rows of cells with their names at the left, the headers above the columns."""
    count, _, height, width = next(iter(rows.values())).shape
    left, size = _margins(rows)
    top = round(size * 1.35 * max(header.count("\n") + 1 for header in headers)) + 2 * GAP
    sheet = Image.new("RGB", (left + count * (width + GAP), top + len(rows) * (height + GAP)), PAPER)
    draw = ImageDraw.Draw(sheet)
    for column, header in enumerate(headers):
        middle = (left + column * (width + GAP) + width / 2, top / 2)
        draw.multiline_text(middle, header, INK, _fitting_font(header, size, width), "mm", align="center")
    for row, (label, cells) in enumerate(rows.items()):
        y = top + row * (height + GAP)
        draw.multiline_text((left - GAP, y + height / 2), label, INK, _font(size), "rm", align="right")
        for column, cell in enumerate(cells):
            sheet.paste(Image.fromarray(as_uint8(cell)), (left + column * (width + GAP), y))
    return np.array(sheet)


def _error_scale(rows: dict[str, Float[Tensor, "v 3 h w"]], max_error: float) -> Picture:
    """A strip as wide as the rows' sheet with the heat map's colours and their numbers."""
    count, _, _, cell = next(iter(rows.values())).shape
    left, size = _margins(rows)
    strip = Image.new("RGB", (left + count * (cell + GAP), 3 * size), PAPER)
    draw = ImageDraw.Draw(strip)
    bar = min(cell * min(count, 2) // 2, 500)
    ramp = _heat(torch.linspace(0, 1, bar).expand(1, 1, size, bar))[0]
    x = strip.width - bar - 2 * size
    strip.paste(Image.fromarray(as_uint8(ramp)), (x, GAP))
    for share, more in ((0, ""), (1 / 3, ""), (2 / 3, ""), (1, "+")):
        draw.text((x + share * bar, 2 * GAP + size), f"{share * max_error:.2g}{more}", INK, _font(size), "ma")
    caption = "error: mean |rendered - truth|\nover RGB, foreground only"
    font = _fitting_font(caption, size, x - size - GAP)
    draw.multiline_text((x - size, GAP), caption, INK, font, "ra", align="right")
    return np.array(strip)


def _margins(rows: dict[str, Float[Tensor, "v 3 h w"]]) -> tuple[int, int]:
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
