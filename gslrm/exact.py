"""Where float32 is float32, whatever the network around it computes in."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def exact_float32(device_type: str) -> Iterator[None]:
    """Context without autocast and without TF32, for rays, decoding, rendering and losses.

    TF32 keeps 10 bits of a factor: a rotation of rays then bends them by a quarter of a pixel of 512, as float16 does.
    """
    matmul, cudnn = torch.backends.cuda.matmul, torch.backends.cudnn
    allowed = matmul.allow_tf32, cudnn.allow_tf32
    matmul.allow_tf32, cudnn.allow_tf32 = False, False
    try:
        with torch.autocast(device_type, enabled=False):
            yield
    finally:
        matmul.allow_tf32, cudnn.allow_tf32 = allowed
