"""Masks from what an empty scene looks like: a background plate, or the recording's own frames."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float, UInt8

from gslrm.data.mask_cut import cut
from gslrm.data.mask_evidence import changed_box, edges, weigh
from gslrm.data.mask_exposure import Exposure, compare
from gslrm.data.mask_matting import premultiplied, soften
from gslrm.data.mask_temporal import steady_background

MARGIN = 24  # pixels around what is asked for, so that the cut and soft edges see the surroundings


@dataclass(frozen=True)
class Segmentation:
    """The object in one frame, kept as crops: a frame costs memory by the object's size, not the picture's.

    `box` is where the crops lie in a picture of `shape` (height, width). Within it `coverage` is in [0, 1], `odds` are
    the log odds behind it, `empty` is the empty scene with this frame's exposure, `background` that with its shadow,
    `image` what was seen, all in levels, and `departure` the denoised difference of image and empty scene. Outside,
    nothing departs from it.
    """

    shape: tuple[int, int]
    box: tuple[slice, slice]
    coverage_crop: Float[np.ndarray, "h w"]
    odds: Float[np.ndarray, "h w"]
    empty: Float[np.ndarray, "h w 3"]
    background: Float[np.ndarray, "h w 3"]
    image: UInt8[np.ndarray, "h w 3"]
    departure: Float[np.ndarray, "h w 3"]
    noise: float

    @property
    def coverage(self) -> Float[np.ndarray, "height width"]:
        """Float32 coverage of the whole picture."""
        whole = np.zeros(self.shape, np.float32)
        whole[self.box] = self.coverage_crop
        return whole

    def premultiplied(self) -> Float[np.ndarray, "height width 4"]:
        """The whole picture as float32 in [0, 1]: colours weighted by coverage with the background taken out."""
        whole = np.zeros((*self.shape, 4), np.float32)
        whole[self.box] = premultiplied(self.image, self.coverage_crop, self.background)
        return whole

    def revised(self, prior: Float[np.ndarray, "height width"]) -> "Segmentation":
        """Cut again with log odds of the whole picture added, such as what other views say; 0 changes nothing.

        A prior counts within `box` only: where the frame shows exactly the empty scene there is nothing to revise.
        """
        added = prior[self.box]
        if not added.any():
            return self
        return _cut(replace(self, odds=self.odds + added.astype(np.float32)))


@dataclass(frozen=True)
class BackgroundModel:
    """What one camera sees when no animal is there.

    `plate` is uint8 RGB; `certainty` [H, W] uint8 is the share of frames, of 255, that showed it (255 for a plate).
    """

    plate: UInt8[np.ndarray, "h w 3"]
    gradient: Float[np.ndarray, "h w"]
    certainty: UInt8[np.ndarray, "h w"]

    @classmethod
    def from_plate(cls, plates: np.ndarray | Sequence[np.ndarray]) -> "BackgroundModel":
        """From one uint8 [H, W, 3] RGB picture of the empty scene, or the median of several.

        Raises:
            ValueError: no plates, plates of different sizes, or not uint8 RGB.
        """
        pictures = [plates] if isinstance(plates, np.ndarray) and plates.ndim == 3 else list(plates)
        if not pictures or any(p.dtype != np.uint8 or p.shape != (*pictures[0].shape[:2], 3) for p in pictures):
            raise ValueError("background plates must be uint8 RGB pictures of one size")
        plate = pictures[0] if len(pictures) == 1 else np.median(np.stack(pictures), axis=0).round().astype(np.uint8)
        return cls(plate, edges(plate), np.full(plate.shape[:2], 255, np.uint8))

    @classmethod
    def from_frames(cls, frames: Iterable[np.ndarray]) -> "BackgroundModel":
        """From uint8 [H, W, 3] RGB frames of a recording, spread over all of it (20 to 60 are enough).

        Raises:
            ValueError: no frames, or frames of different sizes.
        """
        plate, certainty = steady_background(frames)
        return cls(plate, edges(plate), certainty)

    def segment(self, image: UInt8[np.ndarray, "h w 3"]) -> Segmentation:
        """The object in a frame. An unchanged scene, a change of exposure and a shadow alone are empty.

        Raises:
            ValueError: the frame has another size than the plate.
        """
        if image.shape != self.plate.shape:
            raise ValueError(f"frame is {image.shape}, background {self.plate.shape}")
        exposure, departure = compare(image, self.plate)
        box = changed_box(departure, self.plate, self.gradient, exposure, margin=MARGIN)
        if box is None:
            return self._empty(image, exposure)
        evidence = weigh(departure, self.plate, self.gradient, exposure, box)
        return _cut(
            Segmentation(
                shape=image.shape[:2],
                box=box,
                coverage_crop=np.zeros(evidence.odds.shape, np.float32),
                odds=evidence.odds,
                empty=evidence.background,
                background=evidence.background,
                image=image[box].copy(),
                departure=departure[box].copy(),
                noise=float(np.median(exposure.luma_noise)),
            )
        )

    def _empty(self, image: np.ndarray, exposure: Exposure) -> Segmentation:
        nothing, none = np.zeros((0, 0), np.float32), np.zeros((0, 0, 3), np.float32)
        box = (slice(0, 0), slice(0, 0))
        return Segmentation(
            image.shape[:2], box, nothing, nothing, none, none, none.astype(np.uint8), none, exposure.pixel_noise
        )


def _cut(segmentation: Segmentation) -> Segmentation:
    """The same evidence with coverage, and with the background in its shadow."""
    mask = cut(segmentation.odds, segmentation.departure, segmentation.noise)
    coverage, background = soften(mask, segmentation.image, segmentation.empty, segmentation.noise)
    return replace(segmentation, coverage_crop=coverage, background=background)
