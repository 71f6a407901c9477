"""Cleaning of one sample's reconstruction, with a report of what stays at which cost."""

from collections.abc import Sequence
from dataclasses import asdict, replace
from functools import partial
from typing import Any

from gslrm.clean.cost import cost
from gslrm.clean.evidence import Evidence
from gslrm.clean.filters import Filter, clean
from gslrm.errors import UserError
from gslrm.look_around import cameras_around
from gslrm.reconstruct import Reconstruction, Reconstructor

AROUND = 24  # cameras beside the input ones: what only they see must not go


def clean_reconstruction(
    reconstructor: Reconstructor, reconstruction: Reconstruction, filters: Sequence[Filter]
) -> tuple[Reconstruction, dict[str, Any]]:
    """The reconstruction with the Gaussians that pass all filters, and the report.

    Filters work in the network's world, with the input views only; the cost is measured at all views that have an
    image. The report holds `steps` (filter, Gaussians before and after) and `cost` by `input` and `heldout`.

    Raises:
        UserError: a filter needs more than the sample has, nothing would be left, or an image is missing or damaged.
    """
    evidence = _evidence(reconstructor, reconstruction)
    kept, steps = clean(reconstruction.gaussians, filters, evidence)
    placed = reconstruction.placed
    if not len(kept.means):
        raise UserError(f"--clean {','.join(map(str, filters))} leaves nothing of {placed.sample.name}; filter less")
    cleaned = replace(reconstruction, gaussians=kept)
    pictured = [index for index, view in enumerate(placed.sample.views) if view.image_path.is_file()]
    truths = {
        "input": [reconstructor.truth(placed, index) for index in pictured if index in placed.input_index],
        "heldout": [reconstructor.truth(placed, index) for index in pictured if index not in placed.input_index],
    }
    painters = [partial(reconstructor.render, state) for state in (reconstruction, cleaned)]
    return cleaned, {"steps": [asdict(step) for step in steps], "cost": cost(painters[0], painters[1], truths)}


def _evidence(reconstructor: Reconstructor, reconstruction: Reconstruction) -> Evidence:
    given = reconstruction.placed.input
    views = [given[index : index + 1] for index in range(len(given.masks))]
    try:
        around = cameras_around(reconstruction.gaussians, AROUND, given.cameras.height)
    except ValueError as error:
        raise UserError(f"{reconstruction.placed.sample.name} cannot be cleaned: {error}") from error
    cameras = [view.cameras for view in views] + [around[index : index + 1] for index in range(AROUND)]
    return Evidence(views, cameras, reconstructor.rasterizer)
