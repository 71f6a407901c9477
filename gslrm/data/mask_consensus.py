"""What the masks of all views say about each one: parts that others contradict, and parts that others miss.

Each pixel of a mask is a ray. At some point of it the object must be, so all other views that see that point must show
the object there (Laurentini's visual hull, 1994). A ray that most views contradict everywhere is a reflection, a cable
or a hand; where one or two views alone contradict the rays of several others, those views miss a part.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from jaxtyping import Bool, Float

from gslrm.data.mask_background import Segmentation
from gslrm.data.mask_rays import LATTICE, Scene, cast, depth, scene_of
from gslrm.data.rig import RigCamera

MISSING_PRIOR = 5.0  # log odds: enough where fur is as dark as the wall, not where a bright floor is plainly seen
UNSUPPORTED_PRIOR = -16.0  # decides against any evidence: what was seen there is not the animal
SMALLEST = 4  # lattice cells: smaller disagreements are noise of the outlines
DOUBT = 4.0  # log odds below which a pixel's own evidence is weak
NEAR = 41  # pixels: width of the square around the mask in which weak evidence is looked at
ROOM = (0.0, -2.0, -4.0)  # log odds for a weak pixel that none, one or more other views contradict
FLESH = (0.25, 0.6)  # shares of the thickness: from what a hull has too much to what is surely the object
FLESH_PRIOR = 2.5  # log odds
FEWEST_VIEWS = 3  # with two, nobody knows who is wrong


@dataclass(frozen=True)
class Consensus:
    """Coverages after the vote and, per view, what it was about.

    `unsupported` are pixels of the given masks that most other views contradict, `missing` pixels outside them that
    several other views need. `added` and `removed` are shares of the mask's own area that changed.
    """

    coverages: tuple[Float[np.ndarray, "h w"], ...]
    unsupported: tuple[Bool[np.ndarray, "h w"], ...]
    missing: tuple[Bool[np.ndarray, "h w"], ...]
    added: tuple[float, ...]
    removed: tuple[float, ...]


def repair(coverages: Sequence[Float[np.ndarray, "_ _"]], cameras: Sequence[RigCamera]) -> Consensus:
    """Let the views vote on masks without evidence behind them: what is missing is filled, what is unsupported goes.

    Args:
        coverages: float32 [H, W] in [0, 1] per view, raw pixels; an empty one abstains.
        cameras: the raw cameras in the same order; their world may have any unit.

    Returns:
        Masks that agree come back unchanged.

    Raises:
        UserError: the masks do not show one object at one place.
    """
    unsupported, missing = vote(coverages, cameras)
    repaired = []
    for coverage, wrong, needed in zip(coverages, unsupported, missing, strict=True):
        if not (wrong.any() or needed.any()):
            repaired.append(coverage)
            continue
        filled = _fill(coverage, needed) if needed.any() else coverage
        repaired.append(np.where(wrong, 0, filled).astype(np.float32))
    return _consensus(coverages, repaired, unsupported, missing)


def _fill(coverage: np.ndarray, needed: np.ndarray) -> np.ndarray:
    """Coverage with a part added, without a seam between the two; elsewhere it stays exactly as it was."""
    union = ((coverage > 0.5) | needed).astype(np.uint8)
    seamless = cv2.morphologyEx(union, cv2.MORPH_CLOSE, np.ones((5, 5), np.uint8)).astype(np.float32)
    around = cv2.dilate(needed.astype(np.uint8), np.ones((5, 5), np.uint8)) > 0
    return np.where(around, np.maximum(coverage, cv2.GaussianBlur(seamless, (0, 0), 0.7)), coverage)


def repair_segmentations(
    segmentations: Sequence[Segmentation], cameras: Sequence[RigCamera]
) -> tuple[tuple[Segmentation, ...], Consensus]:
    """Let the views vote on masks whose evidence is known, and cut again where the vote questions one.

    Where the picture plainly shows the background, a missing part is not filled: it is space that other views cannot
    see to be empty.

    Raises:
        UserError: the masks do not show one object at one place.
    """
    coverages = [segmentation.coverage for segmentation in segmentations]
    ballot = _ballot(coverages, cameras)
    unsupported, missing = ballot.unsupported, ballot.missing
    revised = []
    for index, segmentation in enumerate(segmentations):
        prior = MISSING_PRIOR * missing[index].astype(np.float32) + UNSUPPORTED_PRIOR * unsupported[index]
        if ballot.scene is not None and index in ballot.voters:
            prior += _doubts(segmentation, ballot.scene, ballot.voters.index(index))
        revised.append(segmentation.revised(prior))
    result = _consensus(coverages, [segmentation.coverage for segmentation in revised], unsupported, missing)
    return tuple(revised), result


def _doubts(segmentation: Segmentation, scene: Scene, place: int) -> np.ndarray:
    """Log odds [H, W] for pixels near the mask whose own evidence is weak, from whether other views leave them room."""
    weak = np.zeros(segmentation.shape, bool)
    weak[segmentation.box] = np.abs(segmentation.odds) < DOUBT
    contradicted = cast(scene, place, weak & _near(segmentation.coverage))
    prior = np.array([0, *ROOM], np.float32)[np.minimum(contradicted, len(ROOM) - 1) + 1]
    low, high = FLESH
    prior += FLESH_PRIOR * np.clip((depth(scene, place, contradicted == 0) - low) / (high - low), 0, 1)
    height, width = segmentation.shape
    return prior.repeat(LATTICE, axis=0).repeat(LATTICE, axis=1)[:height, :width] * weak


def vote(
    coverages: Sequence[Float[np.ndarray, "_ _"]], cameras: Sequence[RigCamera]
) -> tuple[tuple[np.ndarray, ...], tuple[np.ndarray, ...]]:
    """For each view boolean [H, W]: pixels of its mask that others contradict, pixels outside it that others need.

    With five views or more a ray is contradicted when three others disagree at each of its points, and a part is
    missing when three others need it; with three or four views, two. Around it all is missing that the other views
    leave room for. A gap that leaves each other view's rays some point inside all masks cannot be told from space that
    a hull has too much, and is left.

    Raises:
        UserError: the masks do not show one object at one place.
    """
    ballot = _ballot(coverages, cameras)
    return ballot.unsupported, ballot.missing


@dataclass(frozen=True)
class _Ballot:
    unsupported: tuple[np.ndarray, ...]
    missing: tuple[np.ndarray, ...]
    voters: tuple[int, ...]
    scene: Scene | None


def _ballot(coverages: Sequence[np.ndarray], cameras: Sequence[RigCamera]) -> _Ballot:
    nothing = tuple(np.zeros(coverage.shape, bool) for coverage in coverages)
    voters = tuple(index for index, coverage in enumerate(coverages) if (coverage > 0.5).any())
    if len(voters) < FEWEST_VIEWS:
        return _Ballot(nothing, nothing, voters, None)
    scene = scene_of([coverages[index] for index in voters], [cameras[index] for index in voters])
    tolerated = 2 if len(voters) >= 5 else 1
    wrong, needed = list(nothing), list(nothing)
    demands = np.zeros(scene.lattice_shape, np.int64)
    for place, index in enumerate(voters):
        contradicted = cast(scene, place, scene.masks[place], demands, tolerated=tolerated)
        wrong[index] = _grow(contradicted > tolerated, coverages[index].shape)
    for place, index in enumerate(voters):
        several = _bit_count(demands[place]) > tolerated
        if several.any():
            needed[index] = _grow(_completed(several, scene, place), coverages[index].shape) & ~scene.masks[place]
    return _Ballot(tuple(wrong), tuple(needed), voters, scene)


def _completed(core: np.ndarray, scene: Scene, place: int) -> np.ndarray:
    """Lattice cells that a view lacks around those that others need: all their room, but no rims of the mask."""
    reach = 2 * round(scene.thickness_seen(place) / LATTICE) + 1
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (reach, reach))
    around = cv2.dilate(core.astype(np.uint8), disc).repeat(LATTICE, axis=0).repeat(LATTICE, axis=1) > 0
    mask = scene.masks[place]
    room = (cast(scene, place, ~mask & around[: mask.shape[0], : mask.shape[1]]) == 0).astype(np.uint8)
    return core | (cv2.morphologyEx(room, cv2.MORPH_OPEN, np.ones((3, 3), np.uint8)) > 0)


def _near(coverage: np.ndarray) -> np.ndarray:
    return cv2.dilate((coverage > 0.5).astype(np.uint8), np.ones((NEAR, NEAR), np.uint8)) > 0


def _grow(cells: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Lattice cells as pixels of a picture, without the smallest groups."""
    _, labels, parts, _ = cv2.connectedComponentsWithStats(cells.astype(np.uint8), connectivity=8)
    keep = parts[:, cv2.CC_STAT_AREA] >= SMALLEST
    keep[0] = False
    pixels = keep[labels].repeat(LATTICE, axis=0).repeat(LATTICE, axis=1)
    return pixels[: shape[0], : shape[1]]


def _bit_count(values: np.ndarray) -> np.ndarray:
    count = np.zeros(values.shape, np.int64)
    for bit in range(63):
        if not (values >> bit).any():
            break
        count += (values >> bit) & 1
    return count


def _consensus(before: Sequence, after: Sequence, unsupported: tuple, missing: tuple) -> Consensus:
    area = [max(float((coverage > 0.5).sum()), 1.0) for coverage in before]
    pairs = list(zip(before, after, area, strict=True))
    return Consensus(
        tuple(after),
        unsupported,
        missing,
        added=tuple(float(((new > 0.5) & (old <= 0.5)).sum()) / size for old, new, size in pairs),
        removed=tuple(float(((new <= 0.5) & (old > 0.5)).sum()) / size for old, new, size in pairs),
    )
