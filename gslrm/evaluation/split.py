"""Whether validation samples are too near to training samples to be a test.

Consecutive video frames show nearly the same picture: a split of shuffled frames scores memory.
"""

import re
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

FRAME = re.compile(r"frame_(\d+)")  # how prepared samples of one recording are named, by their source frame


@dataclass(frozen=True)
class Overlap:
    """What two lists share: samples that are in both, and the nearest pairs (validation, training) of near frames."""

    shared: tuple[Path, ...]
    near: tuple[tuple[Path, Path], ...]
    total: int
    """Validation samples looked at."""
    frame_gap: int

    def warning(self) -> str | None:
        """One sentence that says what is wrong and how to cure it; none where nothing is."""
        if self.shared:
            return (
                f"{len(self.shared)} of {self.total} validation samples are also trained on (first: {self.shared[0]}): "
                "their scores are no test; give validation a list of its own"
            )
        if self.near:
            validation, training = min(self.near, key=lambda pair: abs(_number(pair[0]) - _number(pair[1])))
            return (
                f"{len(self.near)} of {self.total} validation samples lie within {self.frame_gap} frames of a training "
                f"sample of the same recording (nearest: {validation.name} and {training.name}): they show nearly the "
                "same pose; split a recording into blocks of time with a gap between them"
            )
        return None


def overlap(training: Sequence[Path], validation: Sequence[Path], *, frame_gap: int) -> Overlap:
    """Compare two lists of sample directories; samples beside one another in one folder are of one recording.

    Only names such as frame_000012 are taken for frames of a video.
    """
    trained, judged = ([path.resolve() for path in paths] for paths in (training, validation))
    known = set(trained)
    shared = tuple(path for path in judged if path in known)
    frames: dict[Path, list[int]] = {}
    by_number = {(path.parent, _number(path)): path for path in trained if FRAME.fullmatch(path.name)}
    for parent, number in sorted(by_number):
        frames.setdefault(parent, []).append(number)
    near = []
    for path in judged:
        if path in known or not FRAME.fullmatch(path.name) or path.parent not in frames:
            continue
        closest = _closest(frames[path.parent], _number(path))
        if abs(closest - _number(path)) < frame_gap:
            near.append((path, by_number[path.parent, closest]))
    return Overlap(shared, tuple(near), len(judged), frame_gap)


def _number(path: Path) -> int:
    match = FRAME.fullmatch(path.name)
    return int(match[1]) if match else 0


def _closest(ascending: Sequence[int], number: int) -> int:
    place = bisect_left(ascending, number)
    return min(ascending[max(0, place - 1) : place + 1], key=lambda candidate: abs(candidate - number))
