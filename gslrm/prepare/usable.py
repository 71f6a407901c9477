"""Whether masks can be those of one animal that every camera sees whole, and a picture of those that cannot."""

from collections.abc import Sequence

import cv2
import numpy as np

from gslrm.data.mask_quality import MaskQuality
from gslrm.prepare.frames import Frame
from gslrm.proof.limits import Limits

# Cameras are the same in all moments, so a small disagreement of one camera is told by the whole recording (its report
# looks for such drift); in one moment it is as likely an ear that a mask missed. A tail that leaves two pictures is
# denied by both, and may make a third of the outline.
LIMITS = Limits(swing=4.0, lacking=0.6, excess=0.6)
CUT_BORDER = 0.05  # share of a mask's outline on the picture's border: more than a tail that leaves it
SECOND_ANIMAL = 0.35  # area of a mask's second part, of its first
WIDTH = 260  # pixels of one view in the picture
OUTLINE = (255, 40, 40)


def unusable(names: Sequence[str], qualities: Sequence[MaskQuality]) -> str | None:
    """Why masks cannot be used: a camera sees no animal, most see two, or one sees it cut off."""
    named = list(zip(names, qualities, strict=True))
    empty = [name for name, quality in named if quality.is_empty]
    if empty:
        return f"no animal in view of {', '.join(empty)}; every camera must see it, or leave this camera out"
    several = [name for name, quality in named if quality.second > SECOND_ANIMAL * quality.largest]
    if len(several) > len(named) / 2:
        return f"two animals: the masks of {', '.join(several)} have a second large part, and only one is supported"
    cut = [f"{name} ({quality.border:.0%} of its outline)" for name, quality in named if quality.border > CUT_BORDER]
    if cut:
        return f"the animal is cut off by the picture's border in {', '.join(cut)}"
    return None


def raw_strip(names: Sequence[str], pictures: Sequence[Frame], coverages: Sequence[np.ndarray]) -> bytes:
    """A JPEG of the raw pictures side by side, with the masks' outlines and the cameras' names."""
    cells = []
    for name, picture, coverage in zip(names, pictures, coverages, strict=True):
        size = (WIDTH, round(WIDTH * picture.shape[0] / picture.shape[1]))
        cell = cv2.resize(picture, size, interpolation=cv2.INTER_AREA)
        mask = (cv2.resize(coverage, size, interpolation=cv2.INTER_AREA) > 0.5).astype(np.uint8)
        parts, _ = cv2.findContours(mask, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
        cv2.drawContours(cell, parts, -1, OUTLINE, 1, cv2.LINE_AA)
        cv2.putText(cell, name, (6, 16), cv2.FONT_HERSHEY_SIMPLEX, 0.45, OUTLINE, 1, cv2.LINE_AA)
        cells.append(cell)
    height = max(cell.shape[0] for cell in cells)
    strip = np.concatenate([cv2.copyMakeBorder(c, 0, height - c.shape[0], 0, 4, cv2.BORDER_CONSTANT) for c in cells], 1)
    _, encoded = cv2.imencode(".jpg", cv2.cvtColor(strip, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, 80])
    return encoded.tobytes()
