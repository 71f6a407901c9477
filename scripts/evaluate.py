"""Score a checkpoint at cameras that were not given to it.

    python scripts/evaluate.py --checkpoint demo_output/run/checkpoints/latest --data LIST --json scores.json

Every view is scored at its own size and intrinsics, beside an all-white picture and a copy of the nearest input view.
"""

import argparse
import dataclasses
from pathlib import Path

from gslrm import cli


def main() -> int:
    """Parse, reconstruct every sample, score, report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--checkpoint", type=Path, required=True, help="checkpoint of train_gslrm.py")
    parser.add_argument("--data", type=Path, required=True, help="a sample, a directory of samples or a list file")
    parser.add_argument("--input-views", metavar="0-5", help="views given to the model (default: as in training)")
    parser.add_argument("--target-views", metavar="6-11", help="held-out views (default: all that are not input)")
    parser.add_argument("--json", type=Path, help="write all scores here")
    parser.add_argument("--refine", type=int, default=0, metavar="N", help="gradient steps on each sample's Gaussians")
    parser.add_argument("--device", default="auto", choices=["auto", "cpu", "cuda"])
    cli.add_overrides(parser)
    arguments = parser.parse_args()
    if arguments.refine < 0:
        parser.error("--refine must not be negative")

    from gslrm.config_io import parse_view_list
    from gslrm.data.lists import find_samples
    from gslrm.data.sample import read_sample
    from gslrm.export import write_json
    from gslrm.reconstruct import Reconstructor, choose_inputs, describe
    from gslrm.refine import refine
    from gslrm.training.evaluate import choose_targets, score_sample, summarise, table

    heldout = parse_view_list(arguments.target_views or "all", option="--target-views")
    directories = find_samples(arguments.data)
    reconstructor = Reconstructor.from_checkpoint(
        arguments.checkpoint, device=arguments.device, overrides=tuple(arguments.overrides)
    )
    scores = []
    for directory in cli.track(directories, "evaluating"):
        sample = read_sample(directory)
        inputs = choose_inputs(reconstructor.config, sample, arguments.input_views)
        reconstruction = reconstructor.reconstruct(reconstructor.place(sample, inputs))
        if arguments.refine:
            reconstruction = refine(reconstructor, reconstruction, arguments.refine)
        scores += score_sample(reconstructor, reconstruction, choose_targets(sample, inputs, heldout))
    summary = summarise(scores)
    if arguments.json:
        views = [dataclasses.asdict(score) for score in scores]
        write_json(
            arguments.json,
            {
                "checkpoint": str(arguments.checkpoint),
                "data": str(arguments.data),
                "summary": summary,
                "views": views,
                **describe(reconstructor.config),
            },
        )
    cli.report(f"{len(directories)} samples\n{table(summary)}")
    return 0


if __name__ == "__main__":
    cli.run(main)
