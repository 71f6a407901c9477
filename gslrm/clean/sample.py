"""The views of a sample at their own size in its own world, for Gaussians that are there too."""

from collections.abc import Sequence
from pathlib import Path

import torch

from gslrm.config import DatasetConfig, MouseConfig
from gslrm.data.masks import read_view
from gslrm.data.placed_sample import mask_policy
from gslrm.data.sample import SampleView, read_sample
from gslrm.errors import UserError
from gslrm.types import Views


def true_views(directory: Path, inputs: Sequence[int] | None) -> dict[str, list[Views]]:
    """All views `[1]` that have an image, on white, as `input` (those of `inputs`, None for all) or `heldout`.

    Raises:
        UserError: the sample lacks an input view, or one of its files is missing or damaged.
    """
    sample = read_sample(directory)
    given = range(len(sample.views)) if inputs is None else inputs
    sample.select(tuple(given))
    views: dict[str, list[Views]] = {"input": [], "heldout": []}
    for index, view in enumerate(sample.views):
        if view.image_path.is_file():
            views["input" if index in given else "heldout"].append(_read(view))
        elif index in given:
            raise UserError(f"{view.image_path} is missing; give input views that have an image")
    return views


def _read(view: SampleView) -> Views:
    stored = torch.from_numpy(read_view(view, mask_policy(DatasetConfig(), MouseConfig()))).permute(2, 0, 1)
    colour, coverage = stored[:3], stored[3:]
    return Views((colour + 1 - coverage)[None].clamp(0, 1), coverage[None], view.camera[None])
