"""One sample as a strip of small pictures: every view with its mask's outline, coloured by how far it disagrees."""

import io
from collections.abc import Sequence

import cv2
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from gslrm.proof.hull import HullMiss
from gslrm.proof.limits import REFERENCE_WIDTH
from gslrm.proof.prove import Proof

CELL = 176  # px across a view
COLUMNS = 6
HEADER = 30
GAP = 4
MARGIN = 0.15  # of the object's size around it
JPEG_QUALITY = 80
PAPER, INK = (236, 238, 241), (27, 30, 36)
CALM, HOT = np.array([32, 168, 92]), np.array([214, 30, 30])  # outline that agrees, that is `HOT_MISS` off or more
HOT_MISS = 4.0  # px of a picture 512 wide


def thumbnail(proof: Proof, images: Sequence[np.ndarray]) -> bytes:
    """A JPEG of all views, cut around the animal.

    Dots along the outline are green where the other views agree and turn red up to `HOT_MISS`; below each name stand
    the view's own figures.

    Args:
        proof: of these pictures.
        images: as given to `prove`.
    """
    views = proof.figures.views
    columns = min(COLUMNS, len(views))
    rows = -(-len(views) // columns)
    sheet = Image.new("RGB", (columns * (CELL + GAP) + GAP, rows * (CELL + HEADER + GAP)), PAPER)
    draw = ImageDraw.Draw(sheet)
    for index, (view, image) in enumerate(zip(views, images, strict=True)):
        left, top = GAP + index % columns * (CELL + GAP), index // columns * (CELL + HEADER + GAP)
        figures = f"hull {view.hull:.1f}, tangent {view.tangent:.1f} px" if view.quality.share else "no animal"
        draw.text((left, top + 2), view.name[:28], INK, ImageFont.load_default(13))
        draw.text((left, top + 16), figures, INK, ImageFont.load_default(11))
        sheet.paste(Image.fromarray(_cell(image, *_outline(proof, index))), (left, top + HEADER))
    content = io.BytesIO()
    sheet.save(content, format="JPEG", quality=JPEG_QUALITY)
    return content.getvalue()


def _outline(proof: Proof, view: int) -> tuple[np.ndarray, np.ndarray]:
    """Outline pixels of a view and their misses; empty for a view that shows nothing."""
    if proof.geometry is None or view not in proof.geometry.views:
        return np.zeros((0, 2)), np.zeros(0)
    hull: HullMiss = proof.geometry.hull
    index = proof.geometry.views.index(view)
    return hull.pixel[index], hull.miss[index]


def _cell(image: np.ndarray, pixel: np.ndarray, miss: np.ndarray) -> np.ndarray:
    """The square around the outline, resampled to a cell, with the outline's dots."""
    height, width = image.shape[:2]
    low, high = (pixel.min(axis=0), pixel.max(axis=0)) if len(pixel) else (np.zeros(2), np.array([width, height]))
    side = float((high - low).max()) * (1 + 2 * MARGIN)
    corner = (low + high - side) / 2
    scale = CELL / side
    matrix = np.array([[scale, 0, -scale * corner[0]], [0, scale, -scale * corner[1]]])
    shifted = matrix.copy()
    shifted[:, 2] += 0.5 * scale - 0.5  # OpenCV's pixel centres
    picture = image if image.dtype == np.uint8 else (np.clip(image, 0, 1) * 255).round().astype(np.uint8)
    flags = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    cell = cv2.warpAffine(picture[..., :3], shifted, (CELL, CELL), flags=flags, borderValue=PAPER)
    heat = np.clip(miss * REFERENCE_WIDTH / width / HOT_MISS, 0, 1)[:, None]
    for point, colour in zip(pixel @ matrix[:, :2].T + matrix[:, 2], CALM + heat * (HOT - CALM), strict=True):
        centre = tuple((point - 0.5).round().astype(int).tolist())
        cv2.circle(cell, centre, 1, colour.round().astype(int).tolist(), -1, cv2.LINE_AA)
    return cell
