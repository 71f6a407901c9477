"""A turn about an object -> one picture of evenly spread frames."""

from collections.abc import Iterable, Iterator, Sequence

import numpy as np
import torch

from gslrm.visualize.sheet import Column, Picture, fit, sheet

MAX_FRAMES, MIN_FRAMES = 8, 4  # on a sheet


class KeptFrames:
    """Passes the frames of a video on and keeps evenly spread ones for `turntable_sheet`."""

    def __init__(self, frames: Iterable[Picture], total: int) -> None:
        """Of the `total` frames up to eight are kept, in equal steps where `total` has a divisor for it."""
        self._frames = frames
        count = next((count for count in range(MAX_FRAMES, MIN_FRAMES - 1, -1) if total % count == 0), MAX_FRAMES)
        self.chosen = sorted({number * total // count for number in range(count)})
        self.total = total
        self.kept: list[Picture] = []

    def __iter__(self) -> Iterator[Picture]:
        wanted = set(self.chosen)
        for number, frame in enumerate(self._frames):
            if number in wanted:
                self.kept.append(frame)
            yield frame

    def sheet(self) -> Picture:
        """The kept frames with the angle at which each was taken."""
        return turntable_sheet(self.kept, [360 * number / self.total for number in self.chosen])


def turntable_sheet(frames: Sequence[Picture], degrees: Sequence[float]) -> Picture:
    """Frames of a turntable side by side under the angle turned since the first."""
    cells = torch.stack([torch.from_numpy(np.ascontiguousarray(frame)) for frame in frames]).permute(0, 3, 1, 2) / 255
    return sheet({"turned\nby": fit(cells)}, [Column(f"{angle:.0f} degrees") for angle in degrees])
