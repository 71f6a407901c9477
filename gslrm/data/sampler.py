"""The order in which samples are drawn."""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from torch.utils.data import Sampler


class SampleKey(NamedTuple):
    """What a sampler asks of a data set: everything random about an item follows from the seed and this."""

    epoch: int
    position: int
    step: int = 0
    """The pass, which decides what all samples of a batch must have in common."""


class StreamSampler(Sampler[list[SampleKey]]):
    """Batches of an endless stream of epochs, each a seeded permutation of all samples.

    The batch of a pass depends on nothing but seed and pass number, so a run can start anywhere, with any number of
    workers, and lists shorter than a batch need no special case. Of several processes each takes its consecutive part
    of a batch that is that of one process: none is dropped, and none counts twice.
    """

    def __init__(
        self, length: int, *, batch_size: int, seed: int, start: int, stop: int, rank: int = 0, processes: int = 1
    ) -> None:
        """Batches of one process, `batch_size` each, for the passes `start` .. `stop` - 1."""
        super().__init__()
        self.length = length
        self.batch_size = batch_size
        self.rank = rank
        self.processes = processes
        self.seed = seed
        self.passes = range(start, stop)

    def __len__(self) -> int:
        return len(self.passes)

    def __iter__(self) -> Iterator[list[SampleKey]]:
        epoch, order = -1, np.empty(0, np.int64)
        for step in self.passes:
            keys = []
            first = (step * self.processes + self.rank) * self.batch_size
            for position in range(first, first + self.batch_size):
                if position // self.length != epoch:
                    epoch = position // self.length
                    order = np.random.default_rng([self.seed, epoch]).permutation(self.length)
                keys.append(SampleKey(epoch, int(order[position % self.length]), step))
            yield keys
