"""Measure inference: samples per second, peak memory, and where the time goes, by size of the network's pictures.

    python benchmarks/inference.py --data LIST --samples 4 --sizes 128 256 512 --json inference.json

Every case runs in a process of its own, so that peak memory is that case's. It reconstructs the samples once to warm
up, then once for the clock; `serial` does everything in turn, `pipelined` reads ahead and writes behind. With
`--outputs gaussians` only Gaussians are written, with `all` what inference.py writes by default.
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

PARTS = ("read", "normalise", "forward", "render", "score", "write")
KIBIBYTES_PER_GIB = 1024**2
Case = dict[str, Any]


def main() -> int:
    """Run every case, then report."""
    arguments = parse_arguments()
    if arguments.case is not None:
        cli.report(json.dumps(measure(arguments, json.loads(arguments.case))))
        return 0
    cases: list[Case] = [
        {"size": size, "outputs": outputs, "workers": workers, "batch": batch}
        for outputs in arguments.outputs
        for size in arguments.sizes
        for workers, batch in dict.fromkeys([(0, 1), (arguments.workers, 1), (arguments.workers, arguments.batch)])
    ]
    results: list[Case] = []
    for case in cli.track(cases, "measuring"):
        results.append(run_alone(case))
        if arguments.json:  # after every case, as some take long
            arguments.json.write_text(json.dumps(results, indent=1) + "\n")
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
    parser.add_argument("--json", type=Path, help="write all figures here")
    parser.add_argument("--case", help=argparse.SUPPRESS)
    return parser.parse_args()


def run_alone(case: Case) -> Case:
    """The figures of a case, from a process of its own."""
    command = [sys.executable, __file__, *sys.argv[1:], "--case", json.dumps(case)]
    output = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout
    figures: Case = json.loads(output.splitlines()[-1])
    return case | figures


def measure(arguments: argparse.Namespace, case: Case) -> Case:
    """Reconstruct the samples twice; the figures are those of the second time."""
    import torch

    from gslrm.inference import OutputFolder, Pace, Task, choose_samples, describe_settings, reconstruct_samples
    from gslrm.reconstruct import Reconstructor

    changed = (f"model.image_tokenizer.image_size={case['size']}",)
    reconstructor = Reconstructor.from_checkpoint(arguments.checkpoint, device=arguments.device, overrides=changed)
    task = Task() if case["outputs"] == "all" else Task(render_views=(), video=False)
    settings = describe_settings(reconstructor, task)
    samples = choose_samples(arguments.data)[: arguments.samples]
    pace = Pace(batch=case["batch"], workers=case["workers"])
    for _ in range(2):
        with tempfile.TemporaryDirectory() as folder:
            output = OutputFolder(Path(folder))
            output.open(settings, samples)
            started = time.process_time()
            summary = reconstruct_samples(reconstructor, samples, output, settings=settings, task=task, pace=pace)
            processor = time.process_time() - started
            size = sum(path.stat().st_size for path in Path(folder).rglob("*") if path.is_file())
    if summary.failures:
        raise SystemExit(f"{summary.failures[0].sample} failed: {summary.failures[0].reason}")
    card = torch.cuda.max_memory_allocated() / 2**30 if reconstructor.runtime.device.type == "cuda" else 0.0
    return {
        "samples": len(samples),
        "elapsed": summary.elapsed,
        "processor": processor,
        "seconds": dict(summary.seconds),
        "peak_gib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / KIBIBYTES_PER_GIB,
        "card_gib": card,
        "written_mb": size / 1e6,
    }


def table(results: list[Case]) -> list[str]:
    """One row per case, in Markdown; seconds are per sample."""
    parts = [part for part in PARTS if any(part in result["seconds"] for result in results)]
    head = ["outputs", "px", "way", "frames/s", "of serial", "CPU s", "peak GiB", "card GiB", *parts]
    rows = [head, ["---"] * len(head)]
    for result in results:
        serial = next(
            other
            for other in results
            if (other["outputs"], other["size"], other["workers"]) == (result["outputs"], result["size"], 0)
        )
        way = "pipelined" if result["workers"] else "serial"
        rows.append(
            [
                result["outputs"],
                str(result["size"]),
                way if result["batch"] == 1 else f"{way}, batch {result['batch']}",
                f"{result['samples'] / result['elapsed']:.2f}",
                f"{serial['elapsed'] / result['elapsed']:.2f} x",
                f"{result['processor'] / result['samples']:.2f}",
                f"{result['peak_gib']:.2f}",
                f"{result['card_gib']:.2f}",
                *(f"{result['seconds'].get(part, 0.0) / result['samples']:.2f}" for part in parts),
            ]
        )
    return [f"| {' | '.join(row)} |" for row in rows]


if __name__ == "__main__":
    cli.run(main)
