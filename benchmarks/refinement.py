"""What refinement brings at cameras that were not given, and what it takes.

    python benchmarks/refinement.py --checkpoint RUN/checkpoints/best --data LIST --target-views 6-11 --steps 30 220

Settings are tried as `--set inference.refine.anchor=0`. Seconds are those of the processor, of all threads together, so
that a busy machine counts less; compiling the kernels, once per machine, is left out.
"""

import argparse
import json
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

if __name__ == "__main__":  # runs from a checkout as well as with the package installed
    sys.path.insert(0, str(Path(__file__).parents[1]))

from gslrm import cli

if TYPE_CHECKING:
    from gslrm.reconstruct import Reconstruction, Reconstructor

COLUMNS = ("psnr_crop", "mask_iou", "psnr_fg", "ssim_crop")


def main() -> int:
    """Refine every sample by every number of steps, score it at held-out cameras, report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--checkpoint", type=Path, help="default: the shipped model")
    parser.add_argument("--data", type=Path, required=True, help="a sample, a directory of samples or a list file")
    parser.add_argument("--target-views", default="6-11", help="held-out views")
    parser.add_argument("--steps", type=int, nargs="+", default=[30, 220])
    parser.add_argument("--every", type=int, default=1, metavar="N", help="take every Nth sample")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--json", type=Path, help="write all figures here")
    cli.add_overrides(parser)
    arguments = parser.parse_args()

    import numba
    import torch

    from gslrm.config_io import parse_view_list
    from gslrm.data.lists import find_samples
    from gslrm.reconstruct import Reconstructor

    numba.set_num_threads(arguments.threads)
    torch.set_num_threads(arguments.threads)
    reconstructor = Reconstructor.from_checkpoint(
        arguments.checkpoint, device="cpu", overrides=tuple(arguments.overrides)
    )
    targets = parse_view_list(arguments.target_views, option="--target-views") or ()
    rows = []
    for directory in find_samples(arguments.data)[:: arguments.every]:
        rows += measure(reconstructor, directory, targets, arguments.steps)
        cli.report("\n".join(line(row) for row in rows[-1 - len(arguments.steps) :]))
    for steps in (0, *arguments.steps):
        cli.report(line(mean([row for row in rows if row["asked"] == steps], steps)))
    if arguments.json:
        arguments.json.write_text(json.dumps(rows, indent=1) + "\n")
    return 0


def measure(
    reconstructor: "Reconstructor", directory: Path, targets: tuple[int, ...], counts: list[int]
) -> list[dict[str, Any]]:
    """Figures of one sample without refinement and with each number of steps."""
    from gslrm.data.sample import read_sample
    from gslrm.reconstruct import choose_inputs
    from gslrm.refine import judged_refinement

    sample = read_sample(directory)
    prediction = reconstructor.reconstruct(reconstructor.place(sample, choose_inputs(reconstructor.config, sample)))
    judged_refinement(reconstructor, prediction, 1)  # compiles
    about = {"sample": sample.name}
    rows = [about | {"asked": 0, "steps": 0, "seconds": 0.0} | scores(reconstructor, prediction, targets)]
    for steps in counts:
        begun = time.process_time()
        refinement = judged_refinement(reconstructor, prediction, steps)
        seconds = time.process_time() - begun
        seen = scores(reconstructor, refinement.reconstruction, targets)
        rows.append(about | refinement.report | {"seconds": seconds} | seen)
    return rows


def scores(
    reconstructor: "Reconstructor", reconstruction: "Reconstruction", targets: tuple[int, ...]
) -> dict[str, float]:
    """Means over the held-out views."""
    from gslrm.evaluation.scoring import score_sample
    from gslrm.metrics import average

    views = score_sample(reconstructor, reconstruction, targets, baselines={})
    means = average([view.model for view in views])
    return {name: means[name] for name in COLUMNS}


def mean(rows: list[dict[str, Any]], steps: int) -> dict[str, Any]:
    """The mean row of all samples."""
    names = ("steps", "seconds", *COLUMNS)
    return {"sample": "mean", "asked": steps} | {name: sum(row[name] for row in rows) / len(rows) for name in names}


def line(row: dict[str, Any]) -> str:
    """One row as text."""
    left = row.get("left_out")
    trial = f"  left out {left['before']['psnr_crop']:.2f} -> {left['after']['psnr_crop']:.2f}" if left else ""
    cells = "  ".join(f"{name} {row[name]:.3f}" for name in COLUMNS)
    return (
        f"{row['sample']:14} {row['asked']:4d} asked {row['steps']:5.1f} taken {row['seconds']:6.1f} s  {cells}{trial}"
    )


if __name__ == "__main__":
    cli.run(main)
