"""Measure what torch.compile gains: passes with and without it, taken in turns, and the first one.

    python benchmarks/compile.py --config configs/small_cpu.yaml
    python benchmarks/compile.py --config configs/mouse_gslrm_local_rtx3060.yaml --json compile.json   # on its card

Made-up pictures and random weights; the network, its losses and its rendering are the configuration's. The transformer
by itself is measured at several numbers of tokens, as `model.drop_background` gives every sample another one.
"""

import argparse
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

if __name__ == "__main__":  # runs from a checkout as well as with the package installed
    sys.path.insert(0, str(Path(__file__).parents[1]))

from gslrm import cli

if TYPE_CHECKING:
    from gpu_workload import Workload

Row = dict[str, Any]


def main() -> int:
    """Measure, report, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", type=Path, required=True)
    parser.add_argument("--repeats", type=int, default=15, help="passes of each kind (default 15)")
    parser.add_argument("--tokens", type=int, nargs="+", default=[200, 400, 800], help="of the transformer by itself")
    parser.add_argument("--json", type=Path, help="write all figures here")
    cli.add_overrides(parser)
    arguments = parser.parse_args()

    import torch
    from gpu_workload import Workload

    from gslrm.config_io import load_config
    from gslrm.training.compilation import compile_blocks, require_compiler

    require_compiler()
    config = load_config(arguments.config, arguments.overrides)
    plain, compiled = Workload(config), Workload(config)
    compile_blocks(compiled.model)
    rows = [passes(plain, compiled, arguments.repeats)]
    rows += [transformer(plain, compiled, count, arguments.repeats) for count in arguments.tokens]
    cli.report("\n".join(map(text, rows)))
    if arguments.json:
        about = {"config": str(arguments.config), "overrides": arguments.overrides, "torch": torch.__version__}
        about |= {"amp_dtype": str(plain.reconstructor.runtime.amp_dtype), "threads": torch.get_num_threads()}
        arguments.json.write_text(json.dumps({**about, "rows": rows}, indent=1) + "\n", encoding="utf-8")
    return 0


def passes(plain: "Workload", compiled: "Workload", repeats: int) -> Row:
    """Whole training passes: forward, rendering, losses, backward, update."""
    return {"what": "training pass", **in_turns(plain.train_pass, compiled.train_pass, repeats, plain.device.type)}


def transformer(plain: "Workload", compiled: "Workload", count: int, repeats: int) -> Row:
    """Forward and backward of the transformer, each time with another number of tokens near `count`."""
    import torch

    numbers = iter(range(count, count + 10 * repeats))

    def attend(workload: "Workload", number: int) -> None:
        width = workload.model.config.transformer.d
        tokens = torch.randn(1, number, width, device=workload.device, requires_grad=True)
        workload.model.train()
        with workload.reconstructor.runtime.autocast():
            out = workload.model.transformer_layers(tokens)
        out.float().square().mean().backward()
        workload.optimizer.zero_grad(set_to_none=True)

    kinds = [lambda: attend(plain, next(numbers)), lambda: attend(compiled, next(numbers))]
    return {"what": f"transformer, {count} tokens", **in_turns(*kinds, repeats, plain.device.type)}


def in_turns(plain: Callable[[], Any], compiled: Callable[[], Any], repeats: int, device: str) -> Row:
    """Seconds of the first call of each, then medians of calls in turns and of their ratios."""
    from torch._dynamo.utils import counters

    before = counters["stats"]["unique_graphs"]
    first = [seconds(kind, device) for kind in (plain, compiled)]
    pairs = [(seconds(plain, device), seconds(compiled, device)) for _ in range(repeats)]
    return {
        "first_plain": first[0],
        "first_compiled": first[1],
        "plain": median(pair[0] for pair in pairs),
        "compiled": median(pair[1] for pair in pairs),
        "ratio": median(pair[1] / pair[0] for pair in pairs),
        "compilations": counters["stats"]["unique_graphs"] - before,
    }


def seconds(function: Callable[[], Any], device: str) -> float:
    """Of one call, to its end on the device."""
    from gpu_workload import synchronize

    synchronize(device)
    start = time.perf_counter()
    function()
    synchronize(device)
    return time.perf_counter() - start


def text(row: Row) -> str:
    """One line."""
    return (
        f"{row['what']}: {row['plain']:.3f} s plain, {row['compiled']:.3f} s compiled, ratio {row['ratio']:.2f}; first "
        f"{row['first_plain']:.1f} s and {row['first_compiled']:.1f} s, {row['compilations']} compilations"
    )


if __name__ == "__main__":
    cli.run(main)
