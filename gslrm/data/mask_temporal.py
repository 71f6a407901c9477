"""The background that a recording's own frames agree on, where an animal rests in some of them."""

from collections.abc import Iterable

import numpy as np
from jaxtyping import UInt8

from gslrm.compiled import kernel

MOST_FRAMES = 32  # kept at a time; a longer recording is thinned as it streams by, so memory does not grow
TOLERANCE = 24  # levels, of all channels together: frames that show the same differ by less
STEADY = 0.75  # share of the frames from which a pixel's most frequent colour is surely the background
CELLS = 32
FEWEST_VISITS = 200  # pixels from which the colours of what comes and goes are learnt
VISITORS = 0.95  # of all visits: the most frequent colours that make up this share are the visitors'
DISTRUST = 0.1  # of its frequency is what a visitor's colour counts
ROWS = 64  # at a time


def steady_background(frames: Iterable[np.ndarray]) -> tuple[UInt8[np.ndarray, "h w 3"], UInt8[np.ndarray, "h w"]]:
    """The most frequent colour of each pixel that is not a visitor's, and the share of frames, of 255, that show it.

    Where the scene is nearly always the same, what comes and goes is the animal and its shadow; their colours then
    count for less where they are more frequent. So an animal may rest for most of the time on a floor of another
    colour. Where the share is low the background is uncertain: record a plate. A place that the animal never leaves
    looks like background.

    Raises:
        ValueError: no frames, or frames of different sizes.
    """
    kept = _spread(frames)
    plate, share = np.empty_like(kept[0]), np.empty(kept[0].shape[:2], np.uint8)
    trust = np.ones(CELLS**3, np.float32)
    visits = np.zeros(CELLS**3, np.int64)
    for rows, block in _blocks(kept):
        _mode_kernel(block, TOLERANCE, trust, plate[rows], share[rows])
        _visits_kernel(block, 2 * TOLERANCE, int(255 * STEADY), plate[rows], share[rows], visits)
    if visits.sum() < FEWEST_VISITS:
        return plate, share
    order = np.argsort(visits)[::-1]
    before = np.cumsum(visits[order]) - visits[order]
    trust[order[before < VISITORS * visits.sum()]] = DISTRUST
    for rows, block in _blocks(kept):
        _mode_kernel(block, TOLERANCE, trust, plate[rows], share[rows])
    return plate, share


def _spread(frames: Iterable[np.ndarray]) -> list[np.ndarray]:
    """At most MOST_FRAMES of a stream, evenly spread over what has come."""
    kept: list[np.ndarray] = []
    stride = 1
    for number, frame in enumerate(frames):
        if kept and frame.shape != kept[0].shape:
            raise ValueError(f"frame {number} is {frame.shape}, the first {kept[0].shape}")
        if len(kept) == MOST_FRAMES and number % stride == 0:
            kept, stride = kept[::2], 2 * stride
        if number % stride == 0:
            kept.append(frame)
    if not kept:
        raise ValueError("no frames to take a background from")
    return kept


def _blocks(frames: list[np.ndarray]) -> Iterable[tuple[slice, np.ndarray]]:
    for top in range(0, len(frames[0]), ROWS):
        rows = slice(top, top + ROWS)
        yield rows, np.stack([frame[rows] for frame in frames], axis=2)


@kernel
def _difference(first, second):
    total = np.int64(0)
    for channel in range(3):
        total += abs(np.int64(first[channel]) - np.int64(second[channel]))
    return total


@kernel
def _cell(colour):
    """Index of a colour's cell among CELLS**3."""
    size = 256 // CELLS
    red, green, blue = np.int64(colour[0]) // size, np.int64(colour[1]) // size, np.int64(colour[2]) // size
    return (red * CELLS + green) * CELLS + blue


@kernel
def _mode_kernel(frames, tolerance, trust, plate, share):
    height, width, count, _ = frames.shape
    for y in range(height):
        for x in range(width):
            colours = frames[y, x]
            best, chosen = np.float32(-1), 0
            for i in range(count):
                close = np.float32(0)
                for k in range(count):
                    close += np.float32(_difference(colours[i], colours[k]) <= tolerance)
                close *= trust[_cell(colours[i])]
                if close > best:
                    best, chosen = close, i
            found = 0
            total = np.zeros(3)
            for k in range(count):
                if _difference(colours[chosen], colours[k]) <= tolerance:
                    found += 1
                    total += colours[k]
            plate[y, x] = (total / found + 0.5).astype(np.uint8)
            share[y, x] = 255 * found // count


@kernel
def _visits_kernel(frames, tolerance, steady, plate, share, visits):
    height, width, count, _ = frames.shape
    for y in range(height):
        for x in range(width):
            for k in range(count):
                if share[y, x] >= steady and _difference(frames[y, x, k], plate[y, x]) > tolerance:
                    visits[_cell(frames[y, x, k])] += 1
