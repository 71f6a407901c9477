"""Coverage of the object, and colours freed from the background they were stored on.

Colours are kept premultiplied by coverage until after every resampling: averaging straight colours across a silhouette
mixes in the hidden colour behind it and leaves a halo.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from gslrm.data.images import read_grey, read_image
from gslrm.data.sample import SampleView
from gslrm.errors import UserError

PLAIN_TOLERANCE = 4 / 255  # spread of a plain background: JPEG and soft edges stay below
PLAIN_SHARE = 0.95  # of the pixels outside the mask
OUTSIDE = 1 / 255  # coverage below the smallest step of an 8-bit mask


@dataclass(frozen=True)
class MaskPolicy:
    """Where masks come from, in order: `masks/`, the alpha channel, white background.

    `remove_alpha` skips the second; the third is taken only with `auto_generate`, at `threshold` of 255.
    """

    auto_generate: bool = False
    threshold: int = 250
    remove_alpha: bool = False


def read_view(view: SampleView, policy: MaskPolicy) -> np.ndarray:
    """One view as float32 [H, W, 4]: colours premultiplied by coverage, and the coverage, in [0, 1].

    Raises:
        UserError: a file is missing or damaged, its size is not the camera's, or no mask can be had.
    """
    image = read_image(view.image_path)
    _require_size(view, image, view.image_path)
    if view.mask_path.is_file():
        coverage = read_grey(view.mask_path)
        _require_size(view, coverage, view.mask_path)
        if image.shape[2] == 4 and not policy.remove_alpha:
            return np.dstack([image[..., :3] * coverage[..., None], coverage])
        return premultiply(image[..., :3], coverage)
    if image.shape[2] == 4:
        premultiplied = image * np.dstack([image[..., 3:]] * 3 + [np.ones_like(image[..., 3])])
        if not policy.remove_alpha:
            return premultiplied
        image = premultiplied[..., :3] + 1 - premultiplied[..., 3:]
    if policy.auto_generate:
        return premultiply(image[..., :3], mask_from_white(image, policy.threshold))
    raise UserError(
        f"{view.image_path}: no mask: the image has no alpha channel and {view.mask_path} does not exist; "
        "add masks, or set mouse.auto_generate_mask: true if the background is white"
    )


def mask_from_white(image: np.ndarray, threshold: int) -> np.ndarray:
    """Float32 [H, W]: 0 where all channels of `image` [H, W, 3] exceed `threshold` / 255, else 1."""
    return (image[..., :3].min(axis=2) <= threshold / 255 + 1e-6).astype(np.float32)


def premultiply(image: np.ndarray, coverage: np.ndarray) -> np.ndarray:
    """Separate the object from the background it was stored on.

    Args:
        image: straight colours as stored, float32 [H, W, 3].
        coverage: float32 [H, W].

    Returns:
        float32 [H, W, 4]. On a plain background B the stored colour is `coverage * colour + (1 - coverage) * B`, so the
        premultiplied colour follows exactly; on clutter the stored colour itself is weighted.
    """
    premultiplied = np.zeros((*coverage.shape, 4), np.float32)
    box = _bounding_box(coverage)
    inside, covered = image[box], coverage[box][..., None]
    background = plain_background(image, coverage)
    if background is None:
        premultiplied[box][..., :3] = inside * covered
    else:
        colour = inside - (1 - covered) * background
        premultiplied[box][..., :3] = np.minimum(np.maximum(colour, 0), covered)
    premultiplied[..., 3] = coverage
    return premultiplied


def plain_background(image: np.ndarray, coverage: np.ndarray) -> np.ndarray | None:
    """The one colour [3] behind the object, or none when the background is clutter (judged on every 8th pixel)."""
    outside = image[::8, ::8][coverage[::8, ::8] < OUTSIDE]
    if not len(outside):
        return None
    background = np.median(outside, axis=0)
    plain = (np.abs(outside - background).max(axis=1) <= PLAIN_TOLERANCE).mean() >= PLAIN_SHARE
    return background if plain else None


def _bounding_box(coverage: np.ndarray) -> tuple[slice, slice]:
    rows, columns = np.flatnonzero(coverage.any(axis=1)), np.flatnonzero(coverage.any(axis=0))
    if not len(rows):
        return slice(0, 0), slice(0, 0)
    return slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)


def _require_size(view: SampleView, array: np.ndarray, path: Path) -> None:
    height, width = array.shape[:2]
    if (height, width) != (view.camera.height, view.camera.width):
        raise UserError(
            f"{path}: is {width}x{height} but its camera says {view.camera.width}x{view.camera.height}; the "
            "intrinsics must belong to the stored image: fix w, h, fx, fy, cx, cy in the camera file"
        )
