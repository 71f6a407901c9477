"""The mask sheet: what a user looks at to judge masks must show them where they are."""

import numpy as np
import pytest
import torch

from gslrm.visualize import CONTOUR, GAP, mask_sheet

CELL = 192  # 64 px enlarged by whole pixels
GREEN = torch.tensor([0.2, 0.6, 0.1])


def scene(count: int = 2) -> tuple[torch.Tensor, torch.Tensor]:
    """A green square on white with its mask."""
    masks = torch.zeros(count, 1, 64, 64)
    masks[..., 20:36, 8:24] = 1
    return torch.where(masks > 0.5, GREEN[:, None, None], torch.ones(3, 1, 1)).expand(count, 3, 64, 64), masks


def cells(picture: np.ndarray, view: int, views: int) -> list[np.ndarray]:
    """The four cells of one view."""
    top = picture.shape[0] - (views - view) * (CELL + GAP)
    left = picture.shape[1] - 4 * (CELL + GAP)
    return [picture[top : top + CELL, left + i * (CELL + GAP) : left + i * (CELL + GAP) + CELL] for i in range(4)]


def is_contour(cell: np.ndarray) -> np.ndarray:
    return (cell == np.round(np.array(CONTOUR) * 255)).all(axis=-1)


def test_every_view_has_its_image_its_mask_and_the_contour_at_the_masks_edge():
    images, masks = scene()
    picture = mask_sheet(images, masks, ["0 Camera1", "1 a much longer name"], title="mouse")
    for view in range(2):
        image, mask, overlay, _ = cells(picture, view, 2)
        assert (image[70, 30] == (GREEN * 255).round().numpy()).all() and (image[5, 5] == 255).all()
        assert mask[70, 30].tolist() == [255] * 3 and mask[5, 5].tolist() == [0] * 3
        rows, columns = np.nonzero(is_contour(overlay))
        assert (rows.min(), rows.max(), columns.min(), columns.max()) == (59, 108, 23, 72)


def test_the_boundary_is_at_close_range_on_untinted_pixels():
    images, masks = scene()
    close = cells(mask_sheet(images, masks, ["a", "b"]), 0, 2)[3]
    ring = is_contour(close)
    rows, columns = np.nonzero(ring)
    assert rows.max() - rows.min() > 0.6 * CELL and columns.max() - columns.min() > 0.6 * CELL
    inside = close[CELL // 2, CELL // 2]
    assert (inside == (GREEN * 255).round().numpy()).all()


def test_a_boundary_that_misses_the_object_shows():
    """A mask two pixels beside the object leaves object pixels outside the contour."""
    images, masks = scene()
    shifted = masks.roll(2, dims=-1)
    for mask, misplaced in ((masks, False), (shifted, True)):
        close = cells(mask_sheet(images, mask, ["a", "b"]), 0, 2)[3]
        _, columns = np.nonzero(is_contour(close))
        outside = close[CELL // 2, : columns.min()]
        assert (outside[:, 0] < 100).any() == misplaced  # green is left of the line


@pytest.mark.parametrize("corner", ["top left", "bottom right", "empty", "full"])
def test_masks_at_the_border_and_no_mask_at_all_can_be_drawn(corner):
    images, masks = torch.ones(1, 3, 64, 64), torch.zeros(1, 1, 64, 64)
    window = {"top left": (0, 3), "bottom right": (61, 64), "empty": (0, 0), "full": (0, 64)}[corner]
    masks[..., slice(*window), slice(*window)] = 1
    picture = mask_sheet(images, masks, ["a"])
    assert picture.shape[1] > 4 * CELL
