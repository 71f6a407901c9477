"""The kept frames in time: where the recording jumps, and which blocks are for validation."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from gslrm.errors import UserError

JUMP_OF_DIAMETER = 0.5  # displacement between neighbouring times, of the animal's diameter; a mouse at 3 m/s and 100 Hz
JUMP_OF_USUAL = 8.0  # and of the usual displacement


@dataclass(frozen=True)
class Split:
    """Positions of the kept frames that train and that validate; those between them belong to neither."""

    train: tuple[int, ...]
    validation: tuple[int, ...]


def segments(
    frames: Int[np.ndarray, "n"], centres: Float[np.ndarray, "n 3"], *, diameter: float
) -> list[tuple[int, int]]:
    """First and last position of each stretch in which the animal moves steadily.

    A stretch ends where frames are missing (their distance is more than the usual one) or where the animal jumps: by
    more than half its diameter and 8 times the median displacement.

    Args:
        frames: ascending source frame of each position.
        centres: where the animal is, in the unit of `diameter`.
        diameter: of the animal.
    """
    if len(frames) < 2:
        return [(0, len(frames) - 1)] if len(frames) else []
    apart = np.diff(frames)
    moved = np.linalg.norm(np.diff(centres, axis=0), axis=1)
    jumps = (moved > JUMP_OF_DIAMETER * diameter) & (moved > JUMP_OF_USUAL * np.median(moved))
    ends = np.flatnonzero((apart > np.median(apart)) | jumps)
    starts = [0, *(ends + 1).tolist()]
    return list(zip(starts, [*ends.tolist(), len(frames) - 1], strict=True))


def split_by_blocks(frames: Int[np.ndarray, "n"], *, share: float, blocks: int, gap: int) -> Split:
    """Contiguous blocks of validation frames, evenly spread, with a gap to the training frames on both sides.

    Neighbouring frames are near duplicates; drawing validation frames at random would score the training set.

    Args:
        frames: ascending source frame of each position.
        share: of the frames that validate; 0 leaves all to training.
        blocks: number of blocks.
        gap: frames of the source between a training frame and a validation frame, at least.

    Raises:
        UserError: nothing would be left to train or to validate on.
    """
    count = len(frames)
    if not share:
        return Split(tuple(range(count)), ())
    wanted = max(1, round(share * count / blocks))
    validation: set[int] = set()
    for block in range(blocks):
        stop = round(count * (block + 1) / blocks)  # at the end of each stretch, so that one block takes the end
        validation |= set(range(max(0, stop - wanted), stop))
    held = np.array(sorted(validation), dtype=np.int64)
    distance = np.abs(frames[:, None] - frames[held][None]).min(axis=1) if len(held) else np.full(count, gap + 1)
    train = [position for position in range(count) if position not in validation and distance[position] > gap]
    if not train or not validation:
        raise UserError(
            f"{count} frames leave {len(train)} to train on with --val-share {share}, --val-blocks {blocks} and "
            f"--gap {gap}; prepare more frames, or make the share, the blocks or the gap smaller"
        )
    return Split(tuple(train), tuple(held.tolist()))
