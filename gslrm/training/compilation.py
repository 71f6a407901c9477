"""Compilation of a network by torch.compile, where it can work at all."""

import os
import shutil
import sys

from gslrm.errors import UserError
from gslrm.model.gslrm import GSLRM
from gslrm.model.lgm import LGM

VARIANTS = 4  # of a stage's code: with and without gradients, for the first size alone and for any


def require_compiler() -> None:
    """Look for the C++ compiler that torch.compile calls: for its kernels on a CPU, for their launchers on a card.

    Raises:
        UserError: it is not there; torch would say so in the first pass, in a traceback.
    """
    name = os.environ.get("CXX") or ("clang++" if sys.platform == "darwin" else "g++")  # where torch looks, too
    if shutil.which(name) is None:
        raise UserError(
            f"training.runtime.torch_compile needs a C++ compiler and {name} is not there: install one (Debian, "
            "Ubuntu: sudo apt-get install g++), name another in the variable CXX, or set it to false"
        )


def compile_blocks(model: GSLRM | LGM) -> None:
    """Compile each block of the network in place, at its first call.

    Blocks of a transformer share their compiled code, so it is made once and not once per block; stages of LGM differ
    in widths and have one each. Parameters keep their names. Embedding and heads gain nothing: rays, hulls and
    activations change shape with every view.
    """
    if isinstance(model, LGM):
        _allow_variants(VARIANTS * len(model.blocks()))
    varying = model.config.drop_background  # as many tokens as a sample has foreground: no code for each number
    for block in model.blocks():
        block.compile(dynamic=True if varying else None)


def _allow_variants(count: int) -> None:
    """Torch leaves the rest as it is after 8 variants of a function, and `big` has six stages on the way down alone."""
    from torch._dynamo import config

    config.recompile_limit = max(config.recompile_limit, count)
