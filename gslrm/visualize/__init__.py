"""Tensors -> pictures for people: comparison grids, error heat maps, mask overlays; uint8 arrays [h, w, 3].

The sheets have one column per view and the same order of views every time, so pictures of different steps compare.
"""

from gslrm.visualize.colours import CONTOUR, HEAT, MAX_ERROR, OUTSIDE, depth_map, error_heat_map, mask_overlay
from gslrm.visualize.grids import (
    BANDS,
    MAX_COLUMNS,
    depth_alpha_grid,
    gt_vs_pred_grid,
    mask_debug_picture,
    overview,
    view_columns,
)
from gslrm.visualize.mask_sheet import mask_sheet
from gslrm.visualize.sheet import GAP, MAX_CELL, MIN_CELL, PAPER, Column, Picture
from gslrm.visualize.slices import gaussian_slices
from gslrm.visualize.turn import KeptFrames, turntable_sheet

__all__ = [
    "BANDS",
    "CONTOUR",
    "GAP",
    "HEAT",
    "MAX_CELL",
    "MAX_COLUMNS",
    "MAX_ERROR",
    "MIN_CELL",
    "OUTSIDE",
    "PAPER",
    "Column",
    "KeptFrames",
    "Picture",
    "depth_alpha_grid",
    "depth_map",
    "error_heat_map",
    "gaussian_slices",
    "gt_vs_pred_grid",
    "mask_debug_picture",
    "mask_overlay",
    "mask_sheet",
    "overview",
    "turntable_sheet",
    "view_columns",
]
