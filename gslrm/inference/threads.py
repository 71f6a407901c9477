"""Work before and behind the network, in threads, never more than a fixed amount of it waiting."""

from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from itertools import islice
from types import TracebackType
from typing import TypeVar

import torch

from gslrm.errors import UserError

Item = TypeVar("Item")
Result = TypeVar("Result")


def ahead(
    function: Callable[[Item], Result], items: Iterable[Item], *, workers: int, limit: int
) -> Generator[tuple[Item, Result | UserError], None, None]:
    """Items in their order with what `function` makes of each, or with the `UserError` that it raised.

    At most `limit` results exist that have not been taken; with no workers each is made when it is asked for.
    """
    waiting: deque[tuple[Item, Callable[[], Result]]] = deque()
    remaining = iter(items)
    pool = _pool(workers, "reading") if workers else None

    def start(item: Item) -> Callable[[], Result]:
        return partial(function, item) if pool is None else pool.submit(function, item).result

    try:
        waiting.extend((item, start(item)) for item in islice(remaining, limit))
        while waiting:
            item, result = waiting.popleft()
            made = _result_or_error(result)
            waiting.extend((following, start(following)) for following in islice(remaining, 1))
            yield item, made
            del made  # the next one is waited for without it
    finally:
        if pool is not None:
            pool.shutdown(cancel_futures=True)


class Behind:
    """Runs jobs while the caller goes on; with no workers at once. What a job raises ends the run."""

    def __init__(self, *, workers: int, limit: int) -> None:
        """At most `limit` jobs are running or waiting."""
        self._pool = _pool(workers, "writing") if workers else None
        self._limit = limit
        self._jobs: deque[Future[None]] = deque()

    def __enter__(self) -> "Behind":
        return self

    def submit(self, job: Callable[[], None]) -> None:
        """Start a job, as soon as fewer than `limit` are unfinished.

        Raises:
            Exception: what an earlier job raised.
        """
        if self._pool is None:
            job()
            return
        while len(self._jobs) >= self._limit:
            self._jobs.popleft().result()
        self._jobs.append(self._pool.submit(job))

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._pool is None:
            return
        self._pool.shutdown(cancel_futures=error is not None)
        while error is None and self._jobs:
            self._jobs.popleft().result()


def _pool(workers: int, name: str) -> ThreadPoolExecutor:
    # One thread of torch in each: the network's own threads have the cores.
    return ThreadPoolExecutor(workers, thread_name_prefix=name, initializer=torch.set_num_threads, initargs=(1,))


def _result_or_error(result: Callable[[], Result]) -> Result | UserError:
    try:
        return result()
    except UserError as error:
        return error
