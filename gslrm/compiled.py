"""How numba kernels are compiled, cached on disk, spread over threads."""

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from inspect import unwrap
from typing import Any

import numba


def kernel(function: Callable) -> Callable:
    """Compile at the first call and cache on disk; calls release the interpreter lock.

    Type checkers that wrap every function are unwrapped: kernels have no annotations, and numba cannot compile the
    wrapper. A kernel calls nothing of another file, so that a cached one is never older than what it calls.
    """
    return numba.njit(cache=True, error_model="numpy", nogil=True)(unwrap(function))


def run_workers(compiled: Callable, *arguments: Any, workers: int | None = None) -> None:
    """Call compiled(worker, workers, *arguments) in as many threads, the caller's among them.

    As many as numba has (numba.set_num_threads) if none are given. Unlike numba's own parallel loops this needs no
    OpenMP, which does not survive a fork, and compiles twice as fast.
    """
    workers = workers or numba.get_num_threads()
    others = range(1, workers)
    tasks = [_threads(os.getpid(), workers - 1).submit(compiled, worker, workers, *arguments) for worker in others]
    compiled(0, workers, *arguments)
    for task in tasks:
        task.result()


@cache
def _threads(process: int, count: int) -> ThreadPoolExecutor:
    """Threads of one process: those of a parent do not survive a fork."""
    return ThreadPoolExecutor(max_workers=count, thread_name_prefix=f"kernels-{process}")
