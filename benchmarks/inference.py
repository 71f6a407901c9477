"""Measure inference: samples per second, peak memory, and where the time goes, by size of the network's pictures.

    python benchmarks/inference.py --data LIST --batch 1 --json inference.json      # two idle cores: about 6 minutes
    python benchmarks/inference.py --data LIST --batch 1 --json inference.json --sizes 384           # adds its rows

Every case runs in a process of its own, so that peak memory is that case's. It reconstructs one sample to warm up,
then all of them for the clock; `serial` does everything in turn, `pipelined` reads ahead and writes behind. With
`--outputs gaussians` only Gaussians are written, with `all` what inference.py writes by default. `busy` is the share of
the time in which the network or the rasterizer works: 1 where reading and writing are hidden.

The file is written after every case, so that a run that is stopped keeps its rows. Rows that are there stay, those of
cases that are measured again are replaced.
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

if __name__ == "__main__":  # runs from a checkout as well as with the package installed
    sys.path.insert(0, str(Path(__file__).parents[1]))

from gslrm import cli
from gslrm.errors import UserError

PARTS = ("read", "normalise", "forward", "render", "score", "write")
COMPUTE = ("forward", "render")  # what the loop itself does; all else is for threads
IDENTITY = ("outputs", "size", "workers", "batch")  # what tells cases apart
SHARED = ("data", "samples", "checkpoint", "device")  # what rows of one table have in common
KIBIBYTES_PER_GIB = 1024**2
Case = dict[str, Any]


def main() -> int:
    """Run every case, then report."""
    arguments = parse_arguments()
    if arguments.case is not None:
        cli.report(json.dumps(measure(arguments, json.loads(arguments.case))))
        return 0
    cases = plan(arguments)
    results = read_rows(arguments.json, cases[0])
    for case in cli.track(cases, "measuring"):
        row = run_alone(case)
        results = [other for other in results if any(other[key] != row[key] for key in IDENTITY)] + [row]
        if arguments.json:
            write_rows(arguments.json, results)
    cli.report("\n".join(table(results)))
    return 0


def parse_arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--checkpoint", type=Path, help="default: the small mouse model")
    parser.add_argument("--data", type=Path, required=True, help="as inference.py --input")
    parser.add_argument("--samples", type=int, default=4, help="the first of them")
    parser.add_argument(
        "--sizes", type=int, nargs="+", default=[128, 256, 512], help="model.image_tokenizer.image_size"
    )
    parser.add_argument("--outputs", nargs="+", choices=["gaussians", "all"], default=["gaussians", "all"])
    parser.add_argument("--workers", type=int, default=2, help="of `pipelined`")
    parser.add_argument("--batch", type=int, default=2, help="of the batched case; 1 leaves it away")
    parser.add_argument("--device", default="auto", choices=["auto", "cpu", "cuda"])
    parser.add_argument("--json", type=Path, help="write all figures here, beside those that are there")
    parser.add_argument("--case", help=argparse.SUPPRESS)
    return parser.parse_args()


def plan(arguments: argparse.Namespace) -> list[Case]:
    """The cases to measure, the quick ones first."""
    shared = {key: getattr(arguments, key) for key in SHARED}
    shared |= {key: shared[key] and str(shared[key]) for key in ("data", "checkpoint")}
    return [
        {"size": size, "outputs": outputs, "workers": workers, "batch": batch} | shared
        for outputs in arguments.outputs
        for size in arguments.sizes
        for workers, batch in dict.fromkeys([(0, 1), (arguments.workers, 1), (arguments.workers, arguments.batch)])
    ]


def read_rows(path: Path | None, case: Case) -> list[Case]:
    """The rows of an earlier run, if there are any.

    Raises:
        UserError: they were measured on something else than the case will be.
    """
    if path is None or not path.is_file():
        return []
    rows: list[Case] = json.loads(path.read_text())
    for key in SHARED:
        others = {row.get(key) for row in rows} - {case[key]}
        if others:
            raise UserError(f"{path} holds rows of {key} {others.pop()}, not {case[key]}; name another --json")
    return rows


def write_rows(path: Path, rows: list[Case]) -> None:
    """Write all rows, or leave the file as it was."""
    temporary = path.with_name(f".{path.name}")
    temporary.write_text(json.dumps(rows, indent=1) + "\n")
    temporary.replace(path)


def run_alone(case: Case) -> Case:
    """The figures of a case, from a process of its own."""
    command = [sys.executable, __file__, *sys.argv[1:], "--case", json.dumps(case)]
    output = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout
    figures: Case = json.loads(output.splitlines()[-1])
    return case | figures


def measure(arguments: argparse.Namespace, case: Case) -> Case:
    """Reconstruct one sample, then all; the figures are those of the second time."""
    import torch

    from gslrm.inference import OutputFolder, Pace, Task, choose_samples, describe_settings, reconstruct_samples
    from gslrm.reconstruct import Reconstructor

    changed = (f"model.image_tokenizer.image_size={case['size']}",)
    reconstructor = Reconstructor.from_checkpoint(arguments.checkpoint, device=arguments.device, overrides=changed)
    task = Task() if case["outputs"] == "all" else Task(render_views=(), video=False)
    settings = describe_settings(reconstructor, task)
    samples = choose_samples(arguments.data)[: arguments.samples]
    if len(samples) < arguments.samples:
        raise UserError(f"--data {arguments.data} has {len(samples)} samples; lower --samples {arguments.samples}")
    pace = Pace(batch=case["batch"], workers=case["workers"])
    for chosen in (samples[:1], samples):
        with tempfile.TemporaryDirectory() as folder:
            output = OutputFolder(Path(folder))
            output.open(settings, chosen)
            started = processor_seconds()
            summary = reconstruct_samples(reconstructor, chosen, output, settings=settings, task=task, pace=pace)
            processor = processor_seconds() - started
            size = sum(path.stat().st_size for path in Path(folder).rglob("*") if path.is_file())
    if summary.failures:
        raise UserError(f"{summary.failures[0].sample} failed: {summary.failures[0].reason}")
    card = torch.cuda.max_memory_allocated() / 2**30 if reconstructor.runtime.device.type == "cuda" else 0.0
    return {
        "elapsed": summary.elapsed,
        "processor": processor,
        "seconds": dict(summary.seconds),
        "peak_gib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / KIBIBYTES_PER_GIB,
        "card_gib": card,
        "written_mb": size / 1e6,
    }


def processor_seconds() -> float:
    """Of this process with all its threads, and of the encoders that it started and that have ended."""
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + children.ru_utime + children.ru_stime


def table(results: list[Case]) -> list[str]:
    """One row per case, in Markdown; seconds are per sample."""
    parts = [part for part in PARTS if any(part in result["seconds"] for result in results)]
    card = ["card GiB"] if any(result["card_gib"] for result in results) else []
    head = ["outputs", "px", "way", "samples/s", "of serial", "busy", "CPU s", "peak GiB", *card, *parts]
    ordered = sorted(
        results, key=lambda row: (row["outputs"] != "gaussians", row["size"], row["workers"], row["batch"])
    )
    rows = [head, ["---"] * len(head), *(_cells(result, results, parts, card=bool(card)) for result in ordered)]
    return [f"| {' | '.join(row)} |" for row in rows]


def _cells(result: Case, results: list[Case], parts: list[str], *, card: bool) -> list[str]:
    way = "pipelined" if result["workers"] else "serial"
    seconds, samples, elapsed = result["seconds"], result["samples"], result["elapsed"]
    kind = (result["outputs"], result["size"], 0)
    serial = [other["elapsed"] for other in results if (other["outputs"], other["size"], other["workers"]) == kind]
    return [
        result["outputs"],
        str(result["size"]),
        way if result["batch"] == 1 else f"{way}, batch {result['batch']}",
        f"{samples / elapsed:.2f}",
        f"{serial[0] / elapsed:.2f} x" if serial else "",
        f"{sum(seconds.get(part, 0.0) for part in COMPUTE) / elapsed:.2f}",
        f"{result['processor'] / samples:.2f}",
        f"{result['peak_gib']:.2f}",
        *([f"{result['card_gib']:.2f}"] if card else []),
        *(f"{seconds.get(part, 0.0) / samples:.2f}" for part in parts),
    ]


if __name__ == "__main__":
    cli.run(main)
