"""Renderings beside ground truth, one column per view in the order of the view numbers."""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from gslrm import metrics
from gslrm.types import Rendering, Views
from gslrm.visualize.colours import DEPTH, MAX_ERROR, SURFACE, depth_map, error_heat_map, mask_overlay
from gslrm.visualize.sheet import Colour, Column, Picture, Scale, fit, sheet, with_scale

MAX_COLUMNS = 6  # of an overview
KINDS = {True: "input", False: "held-out"}
BANDS: dict[bool, Colour] = {True: (46, 104, 196), False: (226, 120, 20)}  # blue and orange, also to the colour-blind


def gt_vs_pred_grid(
    target: Views,
    rendering: Rendering,
    view_index: Sequence[int] | None = None,
    max_error: float = MAX_ERROR,
    *,
    names: Sequence[str] | None = None,
    is_input: Sequence[bool] | None = None,
) -> Picture:
    """Ground truth against rendering in five rows, one column per view of `target` `[v]`, ascending by view number.

    Rows: ground truth; rendering; ground truth with its mask; rendering with its own alpha, outlined by the true
    mask; colour error. `view_index` numbers the views and defaults to 0, 1, 2, ...; `names` are their cameras;
    `is_input` tells which were given to the model.
    """
    target, rendering = target.to("cpu").float(), rendering.to("cpu").float()
    index = list(range(len(target.images)) if view_index is None else view_index)
    order = ascending(index)
    columns = view_columns(index, names, is_input, scores=_decibels(target, rendering))
    truth, rendered = fit(target.images[order]), fit(rendering.rgb[order])
    mask, alpha = fit(target.masks[order]), fit(rendering.alpha[order])
    rows = {
        "ground\ntruth": truth,
        "rendered": rendered,
        "truth\n+ mask": mask_overlay(truth, mask, mask),
        "rendered\n+ alpha\n(outline:\ntrue mask)": mask_overlay(rendered, alpha, mask),
        "error": fit(error_heat_map(rendering.rgb, target.images, target.masks, max_error)[order]),
    }
    return with_scale(rows, [columns[i] for i in order], _error_scale(max_error))


def overview(
    target: Views,
    rendering: Rendering,
    names: Sequence[str],
    is_input: Sequence[bool],
    max_error: float = MAX_ERROR,
    *,
    view_index: Sequence[int] | None = None,
) -> Picture:
    """Ground truth, rendering and colour error of at most six views `[v]`, ascending by view number.

    `names` are the cameras, `is_input` tells which were given to the model. Of more than six views, evenly spread ones
    are shown, half of them held out where there are enough.
    """
    target, rendering = target.to("cpu").float(), rendering.to("cpu").float()
    index = list(range(len(target.images)) if view_index is None else view_index)
    order = sorted(_choose(is_input), key=index.__getitem__)
    columns = view_columns(index, names, is_input, scores=_decibels(target, rendering))
    heat = error_heat_map(rendering.rgb[order], target.images[order], target.masks[order], max_error)
    rows = {
        "ground\ntruth": fit(target.images[order]),
        "rendered": fit(rendering.rgb[order]),
        "error": fit(heat),
    }
    return with_scale(rows, [columns[i] for i in order], _error_scale(max_error))


def depth_alpha_grid(
    rendering: Rendering,
    view_index: Sequence[int] | None = None,
    *,
    names: Sequence[str] | None = None,
    is_input: Sequence[bool] | None = None,
    unit: str = "",
) -> Picture:
    """Rendering, coverage and depth of the views `[v]`, ascending by view number, on one scale of depth.

    Depth is z along the optical axis, in `unit`; it is grey where less than half of a pixel is covered.
    """
    rendering = rendering.to("cpu").float()
    index = list(range(len(rendering.rgb)) if view_index is None else view_index)
    order = ascending(index)
    columns = view_columns(index, names, is_input)
    near, far = _depth_range(rendering)
    rows = {
        "rendered": fit(rendering.rgb[order]),
        "alpha\n(white: 1)": fit(rendering.alpha[order].expand(-1, 3, -1, -1)),
        "depth": fit(depth_map(rendering.depth, rendering.alpha, near, far)[order]),
    }
    measure = f", {unit}" if unit else ""
    scale = Scale(f"depth: z along the optical axis{measure},\nwhere alpha is at least one half", near, far, DEPTH)
    return with_scale(rows, [columns[i] for i in order], scale)


def mask_debug_picture(image: Float[Tensor, "3 h w"], mask: Float[Tensor, "1 h w"], title: str = "") -> Picture:
    """Image | mask | overlay with contour, and the foreground's share of the picture in words."""
    image, mask = fit(image.detach().cpu().float()[None]), fit(mask.detach().cpu().float()[None])
    share = (mask > metrics.FOREGROUND).float().mean().item()
    cells = torch.cat([image, mask.expand_as(image), mask_overlay(image, mask, mask)])
    headings = ("image", f"mask: {share:.2%} foreground", "overlay")
    return sheet({title: cells}, [Column(heading) for heading in headings])


def ascending(view_index: Sequence[int]) -> list[int]:
    """Positions of the views in the order of their numbers."""
    return sorted(range(len(view_index)), key=view_index.__getitem__)


def view_columns(
    view_index: Sequence[int],
    names: Sequence[str] | None = None,
    is_input: Sequence[bool] | None = None,
    *,
    scores: Sequence[str] | None = None,
) -> list[Column]:
    """Number, camera name, kind and score of every view as the heading of its column, in the order given."""
    columns = []
    for position, number in enumerate(view_index):
        title = f"view {number}" if names is None else f"{number}  {names[position]}"
        lines = [title]
        band = None
        if is_input is not None:
            kind = bool(is_input[position])
            lines.append(KINDS[kind])
            band = BANDS[kind]
        if scores is not None:
            lines.append(scores[position])
        columns.append(Column("\n".join(lines), band))
    return columns


def _error_scale(max_error: float) -> Scale:
    return Scale("error: mean |rendered - truth|\nover RGB, foreground only", 0.0, max_error, open_end=True)


def _depth_range(rendering: Rendering) -> tuple[float, float]:
    """Nearest and farthest surface of all views, without the rarest hundredth at either end."""
    ranked = rendering.depth[rendering.alpha >= SURFACE].double().sort().values
    if not len(ranked):
        return 0.0, 1.0
    rare = len(ranked) // 100
    near, far = float(ranked[rare]), float(ranked[-1 - rare])
    return near, far if far > near else near + 1.0


def _choose(is_input: Sequence[bool]) -> list[int]:
    groups = [[i for i, given in enumerate(is_input) if given], [i for i, given in enumerate(is_input) if not given]]
    shown = max(MAX_COLUMNS // 2, MAX_COLUMNS - len(groups[1]))
    return _spread(groups[0], shown) + _spread(groups[1], MAX_COLUMNS - min(shown, len(groups[0])))


def _spread(items: list[int], count: int) -> list[int]:
    if len(items) <= count:
        return items
    return [items[i * len(items) // count] for i in range(count)]


def _decibels(target: Views, rendering: Rendering) -> list[str]:
    texts = []
    for view in range(len(target.images)):
        if not metrics.has_foreground(target.masks[view]):
            texts.append("no foreground")
            continue
        score = metrics.psnr_foreground(rendering.rgb[view], target.images[view], target.masks[view])
        texts.append(f"PSNR_fg {score.item():.1f} dB\nat {target.images.shape[-1]} px")
    return texts
