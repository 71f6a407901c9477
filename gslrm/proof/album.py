"""The few samples of a long run whose pictures are worth keeping: the worst, and evenly spread ones."""

from collections.abc import Callable, Mapping
from typing import Any


class Album:
    """Keeps at most `worst` + `spread` pictures in memory, however many samples go by.

    Pictures are asked for only when they will be kept, so most samples never draw one.
    """

    def __init__(self, total: int, *, worst: int = 24, spread: int = 12) -> None:
        self._spread = {index * total // max(spread, 1) for index in range(min(spread, total))}
        self._worst = worst
        self._seen = 0
        self._kept: dict[str, tuple[float, bool, bytes]] = {}

    def offer(self, record: Mapping[str, Any], draw: Callable[[], bytes]) -> None:
        """Show the next sample's record; `draw` makes its picture if it is wanted."""
        is_spread = self._seen in self._spread
        self._seen += 1
        rank = rank_of(record)
        if is_spread or self._enters(rank):
            self._kept[record["sample"]] = (rank, is_spread, draw())
            self._drop_least()

    @property
    def pictures(self) -> dict[str, bytes]:
        """Kept pictures (JPEG) by the sample's name, the worst first."""
        ordered = sorted(self._kept.items(), key=lambda item: -item[1][0])
        return {name: picture for name, (_, _, picture) in ordered}

    def _enters(self, rank: float) -> bool:
        ranks = [kept for kept, is_spread, _ in self._kept.values() if not is_spread]
        return len(ranks) < self._worst or rank > min(ranks, default=-1.0)

    def _drop_least(self) -> None:
        loose = [(rank, name) for name, (rank, is_spread, _) in self._kept.items() if not is_spread]
        if len(loose) > self._worst:
            del self._kept[min(loose)[1]]


def rank_of(record: Mapping[str, Any]) -> float:
    """How bad a sample is: failures before passes, then by the severity of its geometry."""
    return float(record["severity"]) + (0.0 if record["passed"] else 1e6)
