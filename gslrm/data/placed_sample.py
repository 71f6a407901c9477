"""One sample as the network sees it: read, placed in the network's world, resampled."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from gslrm.cameras import Cameras
from gslrm.config import DatasetConfig, MouseConfig
from gslrm.data.depth import with_depths
from gslrm.data.masks import MaskPolicy, read_view
from gslrm.data.normalize import place_object
from gslrm.data.placement import Placement, place_whole
from gslrm.data.sample import CAMERA_FILE, Sample, SampleView
from gslrm.data.sightings import is_cut
from gslrm.data.transforms import warp
from gslrm.errors import UserError
from gslrm.tensor_struct import concatenate, stack
from gslrm.types import Batch, Views

_logger = logging.getLogger(__name__)
_told: set[str] = set()


@dataclass(frozen=True)
class PlacedSample:
    """Input views of one sample as the network sees them, and how to bring any other view there."""

    sample: Sample
    placement: Placement
    input: Views
    input_index: tuple[int, ...]


def place_sample(
    sample: Sample,
    input_index: tuple[int, ...],
    *,
    dataset: DatasetConfig,
    mouse: MouseConfig,
    size: int,
    background: Float[Tensor, "3"],
    stored: Sequence[np.ndarray] | None = None,
    placement: Placement | None = None,
) -> PlacedSample:
    """Read the input views of a sample and bring them to the network's world; no other view is looked at.

    `stored` are the input views where they are read already, each as of `gslrm.data.masks.read_view`; `placement` is
    taken where one is given, else that of `find_placement`.

    Raises:
        UserError: names the sample, its file and the cure.
    """
    views = sample.select(input_index)
    if stored is None:
        policy = mask_policy(dataset, mouse)
        stored = [read_view(view, policy) for view in views]
    if placement is None:
        coverages = [image[..., 3] for image in stored]
        placement = find_placement(sample, input_index, coverages, dataset=dataset, mouse=mouse, size=size)
    try:
        placed = _place_views(views, stored, placement, background)
    except (UserError, ValueError) as error:
        raise UserError(f"{sample.directory / CAMERA_FILE}: {error}") from error
    return PlacedSample(sample, placement, placed, input_index)


def find_placement(
    sample: Sample,
    input_index: tuple[int, ...],
    coverages: Sequence[np.ndarray],
    *,
    dataset: DatasetConfig,
    mouse: MouseConfig,
    size: int,
) -> Placement:
    """How a sample alone becomes the network's: as the `coverages` [H, W] of its input views say.

    Raises:
        UserError: names the sample and the cure.
    """
    cameras = [view.camera for view in sample.select(input_index)]
    try:
        if mouse.normalize_cameras:
            return place_object(list(coverages), cameras, size=size, mouse=mouse)
        return place_whole(
            [view.camera for view in sample.views], size=size, mean_distance=dataset.normalize_distance_to
        )
    except (UserError, ValueError) as error:
        raise UserError(f"{sample.directory / CAMERA_FILE}: {error}") from error


def load_targets(
    placed: PlacedSample, target_index: tuple[int, ...], policy: MaskPolicy, background: Float[Tensor, "3"]
) -> Views:
    """Read further views of a placed sample, at the network's resolution.

    Raises:
        UserError: names the sample, its file and the cure.
    """
    views = placed.sample.select(target_index)
    stored = [read_view(view, policy) for view in views]
    try:
        return _place_views(views, stored, placed.placement, background)
    except ValueError as error:
        raise UserError(f"{placed.sample.directory / CAMERA_FILE}: {error}") from error


def load_item(
    sample: Sample,
    input_index: tuple[int, ...],
    target_index: tuple[int, ...],
    *,
    dataset: DatasetConfig,
    mouse: MouseConfig,
    size: int,
    background: Float[Tensor, "3"],
    depths: bool = False,
) -> Batch:
    """One training item, with true `depths` if they are asked for.

    Target views that are also input views are read once, and copied only where they must be.

    Raises:
        UserError: names the sample, its file and the cure.
    """
    placed = place_sample(sample, input_index, dataset=dataset, mouse=mouse, size=size, background=background)
    fresh = tuple(index for index in target_index if index not in input_index)
    known, available = placed.input, (*input_index, *fresh)
    if fresh:
        known = concatenate([known, load_targets(placed, fresh, mask_policy(dataset, mouse), background)])
    if depths:
        known = with_depths(known, sample.select(available), placed.placement)
    given = known[: len(input_index)]
    as_it_is = target_index == available
    return Batch(
        input=given,
        target=known if as_it_is else known[[available.index(index) for index in target_index]],
        input_index=torch.tensor(input_index),
        target_index=torch.tensor(target_index),
        background=background,
        names=(sample.name,),
    )


def mask_policy(dataset: DatasetConfig, mouse: MouseConfig) -> MaskPolicy:
    """Where this configuration takes masks from."""
    return MaskPolicy(mouse.auto_generate_mask, mouse.mask_threshold, dataset.remove_alpha)


def _place_views(
    views: list[SampleView], stored: Sequence[np.ndarray], placement: Placement, background: Float[Tensor, "3"]
) -> Views:
    images, masks, cameras = [], [], []
    for view, premultiplied in zip(views, stored, strict=True):
        _tell_of_cut_object(view, premultiplied[..., 3])
        crop = placement.crop_camera(view.camera)
        resampled = torch.from_numpy(_resample(premultiplied, view.camera, crop)).permute(2, 0, 1)
        colour, coverage = resampled[:3], resampled[3:]
        images.append((colour + (1 - coverage) * background[:, None, None]).clamp(0, 1))
        masks.append(coverage)
        cameras.append(placement.network_camera(view.camera).float())
    return Views(torch.stack(images), torch.stack(masks), stack(cameras))


def _tell_of_cut_object(view: SampleView, coverage: np.ndarray) -> None:
    """Warn, once in this process, that an object reaches out of a stored picture: it is learned as cut there."""
    if "cut" in _told or not is_cut(coverage):
        return
    _told.add("cut")
    _logger.warning(
        "%s: view %d (%s): the mask touches the picture's border; what lies beyond is taken as background, so the "
        "object is learned as cut. Further such views are not reported",
        view.image_path, view.index, view.name,
    )  # fmt: skip


def _resample(premultiplied: np.ndarray, source: Cameras, target: Cameras) -> np.ndarray:
    same_size = (source.height, source.width) == (target.height, target.width)
    same_rays = all(
        torch.equal(getattr(source, name), getattr(target, name)) for name in ("world_from_camera", "focal", "center")
    )
    return premultiplied if same_size and same_rays else warp(premultiplied, source, target)
