"""How the numba kernels of this folder are compiled."""

from collections.abc import Callable
from inspect import unwrap

import numba


def kernel(function: Callable) -> Callable:
    """Compile at the first call and cache on disk; calls release the interpreter lock.

    Type checkers that wrap every function are unwrapped: kernels have no annotations, and numba cannot compile the
    wrapper. A kernel calls nothing of another file, so that a cached one is never older than what it calls.
    """
    return numba.njit(cache=True, error_model="numpy", nogil=True)(unwrap(function))
