"""How the numba kernels of this folder are compiled, cached and spread over threads."""

import hashlib
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from inspect import unwrap
from pathlib import Path
from typing import Any

import numba


def helper(function: Callable) -> Callable:
    """Make a function callable from kernels, and only from there.

    It is inlined: a call would pass each array as five words or more.
    """
    compiled = numba.njit(error_model="numpy", forceinline=True, no_cpython_wrapper=True, no_cfunc_wrapper=True)
    return compiled(unwrap(function))


@cache
def _source_digest() -> str:
    sources = sorted(Path(__file__).parent.glob("cpu_*.py"))
    return hashlib.sha256(b"".join(source.read_bytes() for source in sources)).hexdigest()


def kernel(function: Callable) -> Callable:
    """Compile at the first call and cache on disk; calls release the interpreter lock.

    Numba alone would keep a cached kernel when a helper in another file has changed. Type checkers that wrap every
    function are unwrapped: kernels have no annotations, and numba cannot compile the wrapper.
    """
    compiled = numba.njit(cache=True, error_model="numpy", nogil=True)(unwrap(function))
    if cache_file := getattr(getattr(compiled, "_cache", None), "_cache_file", None):
        cache_file._source_stamp = _source_digest()
    return compiled


@cache
def _threads(process: int, count: int) -> ThreadPoolExecutor:
    """Threads of one process: those of a parent do not survive a fork."""
    return ThreadPoolExecutor(max_workers=count, thread_name_prefix=f"rasterizer-{process}")


def run_workers(compiled: Callable, *arguments: Any) -> None:
    """Call compiled(worker, workers, *arguments) for as many workers as numba has threads (numba.set_num_threads).

    Unlike numba's own parallel loops this needs no OpenMP, which does not survive a fork, and compiles twice as fast.
    """
    workers = numba.get_num_threads()
    others = range(1, workers)
    tasks = [_threads(os.getpid(), workers - 1).submit(compiled, worker, workers, *arguments) for worker in others]
    compiled(0, workers, *arguments)
    for task in tasks:
        task.result()
