"""The processes that share one run, as torchrun starts them.

Small decisions travel through gloo on the CPU, so that they neither wait for the card nor need one; gradients and
parameters take the device's own way (NCCL on CUDA).
"""

import itertools
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar

import torch
from torch import Tensor, distributed

from gslrm.errors import ToldElsewhere, UserError

Item = TypeVar("Item")

FAILED = "failed"  # key of the shared store: the rank that ended the run
MEETING_SECONDS = 600.0  # for all processes to appear; configurations are read later
CONNECTING_SECONDS = 60.0  # for those that are there: it takes less than one, but gloo has been seen to wait for ever
LOST = ("gloo", "nccl", "connection", "socket", "recv", "broken pipe")  # words of errors that another's end causes


@dataclass(frozen=True)
class Processes:
    """This process among those of its run, whose methods are called by all of them in the same order.

    A process alone pays nothing: its sums are its own values.
    """

    rank: int = 0
    count: int = 1

    @property
    def main(self) -> bool:
        """Whether this one writes logs, pictures and reports."""
        return self.rank == 0

    def total(self, values: Tensor) -> Tensor:
        """Sums over all processes, on the device of the values; without gradient."""
        if self.count == 1:
            return values
        sums = values.detach().clone()
        distributed.all_reduce(sums)
        return sums

    def batch_share(self, count: Tensor) -> Tensor:
        """A count over the batch of all processes, at least 1, divided by their number.

        A sum divided by this is a loss whose mean over the processes is that of the whole batch.
        """
        return self.total(count).clamp_min(1) if self.count == 1 else self.total(count).clamp_min(1) / self.count

    def all(self, fact: bool) -> bool:
        """Whether something is true in every process."""
        return not self.total(torch.tensor(not fact, dtype=torch.int32)).item()

    def gather(self, value: Any) -> list[Any]:
        """The values of all processes, in their order."""
        if self.count == 1:
            return [value]
        values: list[Any] = [None] * self.count
        distributed.all_gather_object(values, value)
        return values

    def wait(self) -> None:
        """Wait for all others to come here."""
        if self.count > 1:
            self.all(True)

    def share_of(self, items: Sequence[Item]) -> Sequence[Item]:
        """Every `count`-th item: each belongs to exactly one process; `merge` puts what was made of them in order."""
        return items[self.rank :: self.count]

    def limit(self, seconds: float) -> None:
        """How long anything may wait for the others from now on."""
        if self.count > 1:
            distributed.distributed_c10d._set_pg_timeout(timedelta(seconds=seconds))


ALONE = Processes()


def merge(shares: Sequence[Sequence[Item]]) -> list[Item]:
    """What the processes made of their `share_of` a list, in its order."""
    rounds = itertools.zip_longest(*[[(item,) for item in share] for share in shares], fillvalue=())
    return [item for taken in rounds for kept in taken for item in kept]


@contextmanager
def joined() -> Iterator[Processes]:
    """Join the other processes that torchrun started, until the block ends; without torchrun there are none.

    Raises:
        UserError: the others cannot be met, or one was lost.
        ToldElsewhere: another process failed first, so what happens here only follows from that.
    """
    count = int(os.environ.get("WORLD_SIZE", "1"))
    if count == 1:
        yield ALONE
        return
    store, processes = _meet()
    try:
        yield processes
    except Exception as error:  # noqa: BLE001  # whatever it is, exactly one process tells it
        told = _told_once(error, store, processes)
        if told is error:
            raise
        raise told from None
    distributed.destroy_process_group()


def _meet() -> tuple[distributed.Store, Processes]:
    limit = timedelta(seconds=MEETING_SECONDS)
    backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() and distributed.is_nccl_available() else "gloo"
    try:
        shared, rank, count = next(iter(distributed.rendezvous("env://", timeout=limit)))
        # torchrun's store outlives a restart, and in it the addresses of processes that are gone
        store = distributed.PrefixStore(f"start_{os.environ.get('TORCHELASTIC_RESTART_COUNT', '0')}", shared)
        store.set(f"here/{rank}", "")
        store.wait([f"here/{other}" for other in range(count)], limit)
        distributed.init_process_group(
            backend,
            store=distributed.PrefixStore("run", store),
            rank=rank,
            world_size=count,
            timeout=timedelta(seconds=CONNECTING_SECONDS),
        )
    except (ValueError, RuntimeError) as error:
        raise UserError(
            f"this process could not meet the others of its run ({_first_line(error)}); start all with torchrun, which "
            "sets RANK, WORLD_SIZE, MASTER_ADDR and MASTER_PORT"
        ) from error
    return store, Processes(rank, count)


def _told_once(error: Exception, store: distributed.Store, processes: Processes) -> Exception:
    """What to raise: the error itself where it came first, and nothing to be told where it follows from another."""
    try:
        first = store.compare_set(FAILED, "", str(processes.rank)).decode()
    except RuntimeError:  # the store was process 0's, and went with it
        first = "0"
    if first != str(processes.rank):
        return ToldElsewhere(f"process {first} ended the run")
    if isinstance(error, RuntimeError) and any(word in str(error).lower() for word in LOST):
        return UserError(
            f"process {processes.rank} lost another process of the run, which was killed, ran out of memory or took "
            f"longer than training.processes.timeout ({_first_line(error)}); give the same command again to go on from "
            "the newest checkpoint, or let torchrun do so: torchrun --max-restarts 3"
        )
    return error


def _first_line(error: Exception) -> str:
    """What an error of torch says first, without the place in its source."""
    line = (str(error).strip().splitlines() or [type(error).__name__])[0]
    return line.rpartition(".cc:")[2].partition("] ")[2].partition(". ")[0] if ".cc:" in line else line[:200]
