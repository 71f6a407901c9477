"""Measure the CPU rasterizer beside its plain-torch twin: forward and backward, all stages, in one process.

    python benchmarks/rasterizer.py --json rasterizer.json --plot rasterizer.png
    python benchmarks/rasterizer.py --quick
    python benchmarks/rasterizer.py --peer package.module:rasterization

Medians of repeated passes in which the contenders take turns. A peer is any function with the arguments of gsplat's
`rasterization` that takes CPU tensors; no installed package is known that offers one, so it has to be named. Speed per
core is counted in processor time, and the load of the machine is recorded: numbers are worth little when it is busy.
"""

import argparse
import ctypes
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict
from importlib import import_module
from multiprocessing import get_context
from pathlib import Path
from typing import TYPE_CHECKING, Any

if __name__ == "__main__":  # runs from a checkout as well as with the package installed
    sys.path.insert(0, str(Path(__file__).parents[1]))

from gslrm.cli import progress, report, run
from gslrm.errors import UserError

if TYPE_CHECKING:
    from rasterizer_cases import Case, Contender

COUNTS, SIZES = (24_576, 98_304, 393_216), (128, 256, 512)
QUICK_COUNTS, QUICK_SIZES = (2_048, 8_192), (64, 128)
TWIN_LIMIT = 98_304  # Gaussians; above, the twin's graph takes too much memory
TWIN_REPEATS = 3
FIRST_CALL = """
import time
start = time.perf_counter()
import torch
from rasterizer_cases import Case, ours, run
one = torch.ones((), requires_grad=True)
torch.autograd.grad(2 * one, one, torch.ones(()))  # torch imports half a second of modules at its first gradient
imported = time.perf_counter()
run(ours, Case(256, 64, "trained", views=1).scene())
print(imported - start, time.perf_counter() - imported)
"""

Row = dict[str, Any]


def main() -> None:
    """Measure, report, write."""
    arguments = parse_arguments()
    counts = QUICK_COUNTS if arguments.quick else tuple(arguments.counts)
    sizes = QUICK_SIZES if arguments.quick else tuple(arguments.sizes)

    from rasterizer_cases import OPACITIES, Case

    cases = [Case(count, size, kind) for kind in OPACITIES for size in sizes for count in counts]
    central = [Case(counts[len(counts) // 2], sizes[len(sizes) // 2], kind) for kind in OPACITIES]
    result: Row = {"command": " ".join(["python", *sys.argv]), "machine": describe_machine(), "cases": []}
    with progress("cases", len(cases)) as bar:
        for case in cases:
            result["cases"].append(measure(case, arguments))
            report(line(result["cases"][-1]))
            bar.advance()
    result["linearity"] = {**linearity(result["cases"]), **linearity_per_pixel(arguments)}
    result["scaling_1_to_2_threads"] = {case.opacities: scaling(case, arguments.repeats) for case in central}
    result["bytes_per_gaussian_view"] = {case.opacities: bytes_per_splat(case) for case in central}
    result["first_call_seconds"] = first_calls()
    for name in ("linearity", "scaling_1_to_2_threads", "bytes_per_gaussian_view", "first_call_seconds"):
        report(f"{name}: {json.dumps(result[name])}")
    if arguments.json:
        arguments.json.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    if arguments.plot:
        plot(arguments.plot, result)


def parse_arguments() -> argparse.Namespace:
    """The options."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--counts", type=int, nargs="+", default=COUNTS, metavar="N", help="numbers of Gaussians")
    parser.add_argument("--sizes", type=int, nargs="+", default=SIZES, metavar="PX", help="sides of the pictures")
    parser.add_argument("--repeats", type=int, default=7, help="timed passes per case and contender")
    parser.add_argument("--twin-limit", type=int, default=TWIN_LIMIT, metavar="N", help="the twin's largest scene")
    parser.add_argument("--peer", metavar="MODULE:FUNCTION", help="another CPU rasterizer with gsplat's arguments")
    parser.add_argument("--quick", action="store_true", help="small scenes only: shows that it works, not how fast")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all figures here")
    parser.add_argument("--plot", type=Path, metavar="FILE", help="draw time per view here (.png)")
    return parser.parse_args()


def measure(case: "Case", arguments: argparse.Namespace) -> Row:
    """Times of one case on one thread; the twin and the peer render one view, being slow."""
    from rasterizer_cases import medians, ours, set_threads, twin

    set_threads(1)
    mine = medians({"ours": ours}, case.scene(), arguments.repeats)["ours"]
    row: Row = {**asdict(case), "ours": describe(mine, case.views)}
    row["gaussian_views_per_core_second"] = case.splats / mine.processor
    rivals: dict[str, Contender] = {"twin": twin} if case.count <= arguments.twin_limit else {}
    if arguments.peer:
        rivals["peer"] = find_peer(arguments.peer)
    if rivals:
        single = type(case)(case.count, case.size, case.opacities, views=1)
        side_by_side = medians({"ours": ours, **rivals}, single.scene(), min(arguments.repeats, TWIN_REPEATS))
        for name in rivals:
            row[name] = describe(side_by_side[name], 1)
            row[f"{name}_ratio"] = side_by_side[name].total / side_by_side["ours"].total
    return row


def describe(times: Any, views: int) -> Row:
    """Milliseconds per view."""
    return {"forward_ms": 1e3 * times.forward / views, "backward_ms": 1e3 * times.backward / views}


def line(row: Row) -> str:
    """One case in words."""
    mine, speed = row["ours"], row["gaussian_views_per_core_second"] / 1e6
    text = f"{row['count']:>7,} Gaussians {row['size']:>3} px {row['opacities']:<9} "
    text += (
        f"{mine['forward_ms']:7.2f} + {mine['backward_ms']:7.2f} ms per view, {speed:.2f} M Gaussian-views/s per core"
    )
    return text + "".join(f", {row[f'{name}_ratio']:.1f}x the {name}" for name in ("twin", "peer") if name in row)


def linearity(rows: list[Row]) -> Row:
    """Time per Gaussian of the largest scene over that of the smallest, per picture size and kind of opacity."""
    groups: dict[str, list[float]] = {}
    for row in sorted(rows, key=lambda row: row["count"]):
        per_gaussian = (row["ours"]["forward_ms"] + row["ours"]["backward_ms"]) / row["count"]
        groups.setdefault(f"{row['size']} px {row['opacities']}", []).append(per_gaussian)
    return {name: round(times[-1] / times[0], 3) for name, times in groups.items()}


def linearity_per_pixel(arguments: argparse.Namespace) -> Row:
    """The same where pictures grow with the scene, as in a network that gives every pixel of six views a Gaussian."""
    from rasterizer_cases import OPACITIES, Case, medians, ours, set_threads

    set_threads(1)
    ratios = {}
    for kind in OPACITIES:
        sides = (32, 64) if arguments.quick else (64, 128, 256)
        per_gaussian = []
        for side in sides:
            case = Case(6 * side**2, side, kind)
            per_gaussian.append(medians({"ours": ours}, case.scene(), arguments.repeats)["ours"].total / case.splats)
        ratios[f"a Gaussian per pixel, {kind}"] = round(per_gaussian[-1] / per_gaussian[0], 3)
    return ratios


def scaling(case: "Case", repeats: int) -> float:
    """How much faster two threads are than one."""
    from rasterizer_cases import medians, ours, set_threads

    times = {}
    for threads in (1, 2):
        set_threads(threads)
        times[threads] = medians({"ours": ours}, case.scene(), repeats)["ours"].total
    set_threads(1)
    return round(times[1] / times[2], 3)


def bytes_per_splat(case: "Case") -> float:
    """Memory beyond inputs, outputs and gradients per Gaussian and view, at the peak of a pass in a fresh process."""
    with get_context("spawn").Pool(1) as pool:
        return round(pool.apply(peak_growth, (case,)) / case.splats, 1)


def peak_growth(case: "Case") -> int:
    """Bytes by which a pass raises this process's memory at its peak, less what it returns (Linux only)."""
    from rasterizer_cases import Case, ours, run, set_threads

    set_threads(1)
    run(ours, Case(256, 32, "trained").scene())
    scene = case.scene()
    ctypes.CDLL(None).malloc_trim(0)  # else the pass would begin with what was freed before
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # forgets the peak so far
    before = memory_field("VmRSS")
    run(ours, scene)
    pictures, gradients = case.views * case.size**2 * 5, case.count * (3 + 4 + 3 + 1 + 3)
    returned = 4 * (2 * pictures + gradients)  # pictures come with the gradients that were given for them
    return memory_field("VmHWM") - before - returned


def memory_field(name: str) -> int:
    """A field of /proc/self/status in bytes."""
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return 1024 * next(int(line.split()[1]) for line in lines if line.startswith(f"{name}:"))


def first_calls() -> Row:
    """Seconds to import and to render for the first time, without and with compiled kernels on disk."""
    with tempfile.TemporaryDirectory() as cache:
        path = os.pathsep.join([str(Path(__file__).parent), str(Path(__file__).parents[1])])
        environment = {**os.environ, "NUMBA_CACHE_DIR": cache, "PYTHONPATH": path}
        calls = [_first_call(environment) for _ in range(2)]
    return {"import": calls[1][0], "cold": calls[0][1], "cached": calls[1][1]}


def _first_call(environment: dict[str, str]) -> list[float]:
    done = subprocess.run(
        [sys.executable, "-c", FIRST_CALL], env=environment, capture_output=True, text=True, check=True
    )
    return [round(float(value), 2) for value in done.stdout.split()]


def find_peer(name: str) -> "Contender":
    """The contender behind MODULE:FUNCTION.

    Raises:
        UserError: there is no such function.
    """
    module, _, function = name.partition(":")
    try:
        peer: Callable[..., Any] = getattr(import_module(module), function)
    except (ImportError, AttributeError) as error:
        raise UserError(f"--peer {name}: {error}") from error
    return lambda scene: peer(**scene, render_mode="RGB+ED")[:2]


def describe_machine() -> Row:
    """What the figures depend on."""
    import numba
    import torch

    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text(encoding="utf-8").splitlines() if cpuinfo.exists() else []
    models = [text.partition(":")[2].strip() for text in lines if text.startswith("model name")]
    return {
        "processor": models[0] if models else platform.processor(),
        "cores": os.cpu_count(),
        "load_at_start": os.getloadavg()[0],
        "date": time.strftime("%Y-%m-%d"),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "numba": numba.__version__,
    }


def plot(path: Path, result: Row) -> None:
    """Milliseconds per view over the number of Gaussians."""
    from chart import Curve, draw

    kinds = list(dict.fromkeys(f"{row['size']} px, {row['opacities']}" for row in result["cases"]))
    curves: dict[tuple[str, str], list[tuple[float, float]]] = {}
    for row in result["cases"]:
        for name in ("ours", "twin", "peer"):
            if name in row:
                total = row[name]["forward_ms"] + row[name]["backward_ms"]
                curves.setdefault((name, f"{row['size']} px, {row['opacities']}"), []).append((row["count"], total))
    named = [
        Curve(f"{name}, {kind}", points, colour=kinds.index(kind), thin=name != "ours")
        for (name, kind), points in sorted(curves.items(), key=lambda item: item[0][0])
    ]
    draw(path, "forward and backward, one thread", "Gaussians", "ms per view", named)


if __name__ == "__main__":
    run(main)
