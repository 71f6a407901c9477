"""Score a checkpoint at cameras that were not given to it.

    python scripts/evaluate.py --checkpoint demo_output/run/checkpoints/latest --data LIST --json scores.json

Every view is scored at its own size and intrinsics, beside white paper, one mean colour, a copy of the nearest input
view and the coloured visual hull of the input masks. A sample whose views are all input is reconstructed without each
camera in turn, and that one is scored.
"""

import argparse
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from gslrm import cli
from gslrm.shipped import CHECKPOINT

if TYPE_CHECKING:
    from gslrm.evaluation.baselines import Baseline
    from gslrm.evaluation.disturbance import Disturbance
    from gslrm.evaluation.report import Evaluation
    from gslrm.reconstruct import Reconstructor


def main() -> int:
    """Parse, reconstruct every sample, score, report."""
    arguments = parse_arguments()

    from gslrm.data.lists import find_samples
    from gslrm.export import write_json
    from gslrm.reconstruct import Reconstructor, describe

    directories = find_samples(arguments.data)
    reconstructor = Reconstructor.from_checkpoint(
        arguments.checkpoint,
        device=arguments.device,
        overrides=tuple(arguments.overrides),
        config_file=arguments.config,
    )
    if arguments.config is None:  # else the weights know nothing of the configuration's training samples
        warn_of_overlap(reconstructor, directories)
    disturbance = choose_disturbance(arguments)
    evaluation = evaluate(arguments, reconstructor, directories, disturbance)
    if arguments.json:
        about = {
            "checkpoint": str(arguments.checkpoint or CHECKPOINT),
            "data": str(arguments.data),
            "refine": arguments.refine,
            "disturbance": asdict(disturbance),
        }
        write_json(arguments.json, {**about, **evaluation.content(), **describe(reconstructor.config)})
    cli.report(evaluation.text())
    return 0


def evaluate(
    arguments: argparse.Namespace, reconstructor: "Reconstructor", directories: list[Path], disturbance: "Disturbance"
) -> "Evaluation":
    """Reconstruct and score every sample."""
    from gslrm.data.sample import read_sample
    from gslrm.evaluation.disturbance import Received
    from gslrm.evaluation.protocol import plan
    from gslrm.evaluation.report import Evaluation
    from gslrm.evaluation.scoring import score_folds
    from gslrm.reconstruct import choose_inputs
    from gslrm.scorecard.scores import reconstruct

    baselines = choose_baselines(arguments, reconstructor)
    evaluation = Evaluation()
    for directory in cli.track(directories, "evaluating"):
        sample = read_sample(directory)
        inputs = choose_inputs(reconstructor.config, sample, arguments.input_views)
        folds = plan(sample, inputs, arguments.target_views, "leave_one_out" if arguments.leave_one_out else "auto")
        received = Received(reconstructor, sample, disturbance)
        forward = partial(reconstruct, received, steps=arguments.refine)
        scores = score_folds(
            reconstructor, sample, folds, baselines=baselines, reconstruct=forward, given=received.view
        )
        evaluation.add(*scores)
    return evaluation


def parse_arguments() -> argparse.Namespace:
    """The command line, checked."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--checkpoint", type=Path, help=f"of train_gslrm.py, or published weights (default: {CHECKPOINT})"
    )
    parser.add_argument("--config", type=Path, help="YAML file, for weights that carry no configuration of their own")
    parser.add_argument("--data", type=Path, required=True, help="a sample, a directory of samples or a list file")
    parser.add_argument("--input-views", metavar="0-5", help="views given to the model (default: as in training)")
    parser.add_argument("--target-views", metavar="6-11", help="held-out views (default: all that are not input)")
    parser.add_argument("--leave-one-out", action="store_true", help="hold out each input camera in turn instead")
    parser.add_argument("--no-hull", action="store_true", help="leave the visual hull out of the comparison")
    parser.add_argument(
        "--baseline-optimise", type=float, default=0.0, metavar="SECONDS", help="also fit Gaussians to each sample"
    )
    parser.add_argument("--json", type=Path, help="write all scores here")
    parser.add_argument("--refine", type=int, default=0, metavar="N", help="gradient steps on each sample's Gaussians")
    disturbed = parser.add_argument_group("errors put into what the model is given, never into the truth")
    disturbed.add_argument(
        "--disturb-masks", type=_size, default=0.0, metavar="PX", help="outlines are off by up to this, stored pixels"
    )
    disturbed.add_argument(
        "--disturb-cameras", type=_size, default=0.0, metavar="MM", help="deviation of positions, unit of the samples"
    )
    disturbed.add_argument("--disturb-turns", type=_size, default=0.0, metavar="DEGREES", help="of orientations")
    disturbed.add_argument(
        "--disturb-aimed", action="store_true", help="moved cameras still see the middle where it was"
    )
    disturbed.add_argument("--disturb-seed", type=int, default=0, metavar="N")
    parser.add_argument("--device", default="auto", choices=["auto", "cpu", "cuda"])
    cli.add_overrides(parser)
    arguments = parser.parse_args()
    if arguments.refine < 0:
        parser.error("--refine must not be negative")
    if arguments.disturb_seed < 0:
        parser.error("--disturb-seed must not be negative")
    if not 0 <= arguments.baseline_optimise < float("inf"):
        parser.error("--baseline-optimise must be a number of seconds")
    if arguments.leave_one_out and arguments.target_views is not None:
        parser.error("--leave-one-out and --target-views exclude each other")
    if arguments.target_views is not None:
        from gslrm.config_io import parse_view_list

        arguments.target_views = parse_view_list(arguments.target_views, option="--target-views")
    return arguments


def _size(text: str) -> float:
    """A finite number that is not negative."""
    value = float(text)
    if not 0 <= value < float("inf"):
        raise argparse.ArgumentTypeError(f"{text} is no size: it must be finite and not negative")
    return value


def choose_disturbance(arguments: argparse.Namespace) -> "Disturbance":
    """The errors of what the model is given."""
    from gslrm.evaluation.disturbance import Disturbance

    return Disturbance(
        mask_pixels=arguments.disturb_masks,
        camera_shift=arguments.disturb_cameras,
        camera_turn=arguments.disturb_turns,
        aimed=arguments.disturb_aimed,
        seed=arguments.disturb_seed,
    )


def choose_baselines(arguments: argparse.Namespace, reconstructor: "Reconstructor") -> "dict[str, Baseline]":
    """What the model is compared with."""
    from gslrm.evaluation.baselines import ALL, TRIVIAL
    from gslrm.evaluation.optimise import optimised

    chosen = dict(TRIVIAL if arguments.no_hull else ALL)
    if arguments.baseline_optimise:
        chosen["optimised"] = optimised(
            reconstructor.rasterizer, arguments.baseline_optimise, device=reconstructor.runtime.device
        )
    return chosen


def warn_of_overlap(reconstructor: "Reconstructor", judged: list[Path]) -> None:
    """Warn when samples are scored that the checkpoint was trained on, as far as its training list is still there."""
    import logging

    from gslrm.data.lists import find_samples
    from gslrm.errors import UserError
    from gslrm.evaluation.split import overlap

    try:
        trained = find_samples(Path(str(reconstructor.dataset.dataset_path)))
    except UserError:  # trained elsewhere, which is no fault
        return
    warning = overlap(trained, judged, frame_gap=reconstructor.config.validation.min_frame_gap).warning()
    if warning:
        logging.getLogger("gslrm").warning("--data: %s", warning)


if __name__ == "__main__":
    cli.run(main)
