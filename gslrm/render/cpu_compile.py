"""How the numba kernels of this folder are compiled, where they call helpers of its other files."""

import hashlib
from collections.abc import Callable
from functools import cache
from inspect import unwrap
from pathlib import Path

import numba

from gslrm.compiled import kernel as compile_alone


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
    """`compiled.kernel` that may call helpers of any file of this backend.

    Numba alone would keep a cached kernel when a helper in another file has changed.
    """
    compiled = compile_alone(function)
    if cache_file := getattr(getattr(compiled, "_cache", None), "_cache_file", None):
        cache_file._source_stamp = _source_digest()
    return compiled
