"""Calibrated samples to Gaussians, pictures, a video and figures: one sample, a list, a whole recording.

    python inference.py --input SAMPLE --output OUT                          # with the small mouse model, also on a CPU
    python inference.py --checkpoint RUN/checkpoints/best --input LIST --output OUT
    python inference.py --checkpoint ckpt_0000000000021125.pt --input LIST --output OUT       # FaceLift's, as published

Samples need no preparation: any unit, any intrinsics. All outputs are in the sample's own world and at its own cameras.
The same command, given again, goes on where it was. It ends with 0 when all samples are done, with 3 when some could
not be done (listed in OUT/failures.json), with 2 when it could do nothing.
"""

import argparse
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from gslrm import cli
from gslrm.shipped import CHECKPOINT

if TYPE_CHECKING:
    from gslrm.inference import OutputFolder, Task
    from gslrm.reconstruct import Reconstructor

SOME_FAILED = 3
LISTED = 20  # failures at the end; the file has all


def main() -> int:
    """Parse, then reconstruct what is not there yet."""
    arguments = parse_arguments()

    from gslrm.clean.summary import cleaning_text, read_reports
    from gslrm.config_io import parse_view_list
    from gslrm.errors import UserError
    from gslrm.inference import Pace, choose_samples, describe_settings, reconstruct_samples
    from gslrm.reconstruct import Reconstructor

    views = parse_view_list(arguments.render_views, option="--render-views")
    samples = choose_samples(arguments.input)
    if arguments.output is not None:
        writable(arguments.output)  # before anything is computed
    reconstructor = Reconstructor.from_checkpoint(
        arguments.checkpoint,
        device=arguments.device,
        overrides=(*arguments.overrides, *overrides(arguments)),
        config_file=arguments.config,
    )
    output = writable(arguments.output or reconstructor.config.inference.output_dir)
    task = choose_task(arguments, reconstructor, samples, views)
    settings = describe_settings(reconstructor, task)
    remaining = output.open(settings, samples, redo=arguments.redo)
    pace = Pace(batch=arguments.batch, workers=arguments.workers)
    summary = reconstruct_samples(reconstructor, remaining, output, settings=settings, task=task, pace=pace)
    cli.report(summary.text(complete=len(samples) - len(remaining), listed=LISTED))
    if summary.failures and len(summary.failures) == len(samples):
        raise UserError(summary.failures[0].reason)
    if task.filters:
        cli.report(cleaning_text(read_reports(output.root)))
    if arguments.sequence is not None:
        join(output.root, arguments.sequence)
    return SOME_FAILED if summary.failures else 0


def writable(root: str | Path | None) -> "OutputFolder":
    """The output folder, into which files can be written."""
    from gslrm.errors import UserError
    from gslrm.inference import OutputFolder

    if root is None:
        raise UserError("--output is missing and the checkpoint's configuration sets no inference.output_dir")
    output = OutputFolder(Path(root))
    output.require_writable()
    return output


def choose_task(
    arguments: argparse.Namespace,
    reconstructor: "Reconstructor",
    samples: Sequence[Path],
    views: tuple[int, ...] | None,
) -> "Task":
    """What is asked of each sample; to place them as frames of one recording, all are looked at first."""
    from gslrm.clean import parse_filters
    from gslrm.inference import Task, share_placements

    filters = tuple(parse_filters(reconstructor.config.inference.clean))
    shared = None
    if arguments.smooth_placement is not None:
        shared = share_placements(
            reconstructor,
            samples,
            input_views=arguments.input_views,
            reach=arguments.smooth_placement,
            workers=arguments.workers,
        )
    return Task(
        input_views=arguments.input_views,
        render_views=views,
        video=not arguments.no_video,
        refine=arguments.refine,
        filters=filters,
        shared=shared,
    )


def join(root: Path, fps: float) -> None:
    """Make one sequence of all samples in the output folder."""
    from gslrm.motion.make import Request, make_sequence

    sequence, _ = make_sequence(root, Request(fps=fps))
    cli.report(f"{sequence.folder}: a sequence of {len(sequence)} frames")


def parse_arguments() -> argparse.Namespace:
    """The command line, checked."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--checkpoint", type=Path, help=f"of train_gslrm.py, or published weights (default: {CHECKPOINT})")
    add("--config", type=Path, help="YAML file, for weights that carry no configuration and are not as published")
    add("--input", type=Path, required=True, help="a sample, a directory of samples, a list, a prepared recording")
    add("--output", type=Path, help="output folder (default: inference.output_dir of the configuration)")
    add("--redo", action="store_true", help="make samples again that are complete, also with other settings")
    add("--batch", type=int, default=1, metavar="N", help="samples per forward pass; results do not depend on it")
    add(
        "--workers",
        type=int,
        default=min(4, os.cpu_count() or 1),
        metavar="N",
        help="threads that read ahead, and as many that write; 0: everything in turn (default: %(default)s)",
    )
    add("--input-views", metavar="0-5", help="views given to the model (default: as in training)")
    add("--render-views", default="all", metavar="6-11|all|none", help="cameras to render at")
    add("--no-video", action="store_true", help="skip the turntable")
    add("--refine", type=int, default=0, metavar="N", help="gradient steps on each sample's Gaussians")
    add("--clean", metavar="FILTERS", help="as opacity:0.02,hull:2; default: inference.clean")
    add("--formats", nargs="+", metavar="NAME", help="as spz sog splat; default: inference.formats")
    add("--mesh", action="store_true", help="write the surface as mesh.glb too")
    add("--sequence", type=float, metavar="FPS", help="make OUT/sequence too, see scripts/make_sequence.py: frames/s")
    add(
        "--smooth-placement",
        type=int,
        metavar="N",
        help="frames of one recording: give them one scale, and centres smoothed over N frames on either side",
    )
    add("--device", default="auto", choices=["auto", "cpu", "cuda"])
    cli.add_overrides(parser)
    arguments = parser.parse_args()
    refuse_impossible(arguments, parser)
    return arguments


def refuse_impossible(arguments: argparse.Namespace, parser: argparse.ArgumentParser) -> None:
    """End with the usage where a number makes no sense."""
    if min(arguments.refine, arguments.workers, arguments.smooth_placement or 0) < 0:
        parser.error("--refine, --workers and --smooth-placement must not be negative")
    if arguments.sequence is not None and not arguments.sequence > 0:
        parser.error("--sequence must be positive: frames per second of the recording")
    if arguments.batch < 1:
        parser.error("--batch must be at least 1")


def overrides(arguments: argparse.Namespace) -> list[str]:
    """The options that are configuration keys too."""
    given = {"clean": arguments.clean, "formats": arguments.formats and f"[{', '.join(arguments.formats)}]"}
    chosen = [f"inference.{key}={value}" for key, value in given.items() if value is not None]
    return chosen + (["inference.mesh=true"] if arguments.mesh else [])


if __name__ == "__main__":
    cli.run(main)
