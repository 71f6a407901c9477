"""Masks of all raw pictures of one moment, from whatever the recording offers."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float

from gslrm.data.lens import Cutout
from gslrm.data.mask_background import BackgroundModel, Segmentation
from gslrm.data.mask_consensus import repair, repair_segmentations
from gslrm.data.mask_given import from_white, threshold_given
from gslrm.data.mask_matting import premultiplied
from gslrm.data.mask_plugins import Segmenter
from gslrm.data.masks import premultiply
from gslrm.data.rig import RigCamera
from gslrm.prepare.frames import Frame


@dataclass(frozen=True)
class Masked:
    """What of each raw picture is animal, in raw pixels.

    `added` and `removed` are the shares of each mask's area that the other views' vote changed.
    """

    coverages: list[Float[np.ndarray, "_ _"]]
    colours: list[Cutout]
    """RGB times coverage, and coverage."""
    added: tuple[float, ...]
    removed: tuple[float, ...]


@runtime_checkable
class Masker(Protocol):
    """Raw pictures of all cameras at one time to masks."""

    def __call__(self, pictures: Sequence[Frame], given: Sequence[Frame] | None) -> Masked:
        """Mask pictures.

        Args:
            pictures: one per camera.
            given: masks that the recording brought along, if it did.

        Raises:
            UserError: the masks do not show one object at one place.
        """
        ...


@dataclass(frozen=True)
class BackgroundMasker:
    """What departs from the empty scene; the views vote on what each of them sees badly."""

    cameras: tuple[RigCamera, ...]
    models: tuple[BackgroundModel, ...]
    consensus: bool

    def __call__(self, pictures: Sequence[Frame], given: Sequence[Frame] | None) -> Masked:
        """See `Masker`."""
        found = tuple(model.segment(picture) for model, picture in zip(self.models, pictures, strict=True))
        added = removed = (0.0,) * len(found)
        if self.consensus:
            found, ballot = repair_segmentations(found, self.cameras)
            added, removed = ballot.added, ballot.removed
        return Masked([one.coverage for one in found], [_colours(one) for one in found], added, removed)


@dataclass(frozen=True)
class PictureMasker:
    """Masks that need no background: given ones, white paper, or another project's segmenter."""

    cameras: tuple[RigCamera, ...]
    consensus: bool
    segmenter: Segmenter | None = None
    """None where masks are given."""

    def __call__(self, pictures: Sequence[Frame], given: Sequence[Frame] | None) -> Masked:
        """See `Masker`."""
        if self.segmenter is not None:
            coverages = [self.segmenter(picture) for picture in pictures]
        else:
            assert given is not None
            coverages = [threshold_given(np.ascontiguousarray(mask[..., 0])) for mask in given]
        added = removed = (0.0,) * len(coverages)
        if self.consensus:
            ballot = repair(coverages, self.cameras)
            coverages, added, removed = list(ballot.coverages), ballot.added, ballot.removed
        straight = [picture.astype(np.float32) / 255 for picture in pictures]
        whole = [premultiply(picture, coverage) for picture, coverage in zip(straight, coverages, strict=True)]
        return Masked(coverages, [Cutout(0, 0, colours) for colours in whole], added, removed)


def white_paper(picture: Frame) -> Float[np.ndarray, "h w"]:
    """Coverage of what is not white."""
    return from_white(picture)


def _colours(found: Segmentation) -> Cutout:
    rows, columns = found.box
    return Cutout(
        int(columns.start), int(rows.start), premultiplied(found.image, found.coverage_crop, found.background)
    )
