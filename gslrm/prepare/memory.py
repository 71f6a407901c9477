"""What the C library does with the memory of freed pictures."""

import ctypes
import ctypes.util
import sys

M_MMAP_THRESHOLD = -3  # of <malloc.h>
LARGE = 1 << 20  # bytes


def return_large_arrays() -> None:
    """Have glibc return every freed array of a megabyte or more to the system at once.

    By default it raises that limit up to 32 MB and keeps what is smaller, scattered over one arena per thread; two
    threads then held 1.6 GB for pictures of which 0.5 GB were alive. Elsewhere than on Linux nothing is done.
    """
    library = ctypes.util.find_library("c") if sys.platform == "linux" else None
    mallopt = getattr(ctypes.CDLL(library), "mallopt", None) if library else None  # musl has none
    if mallopt is not None:
        mallopt(M_MMAP_THRESHOLD, LARGE)
