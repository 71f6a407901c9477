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
from pathlib import Path

from gslrm import cli
from gslrm.shipped import CHECKPOINT

SOME_FAILED = 3
LISTED = 20  # failures at the end; the file has all


def main() -> int:
    """Parse, then reconstruct what is not there yet."""
    arguments = parse_arguments()

    from gslrm.clean import parse_filters
    from gslrm.config_io import parse_view_list
    from gslrm.errors import UserError
    from gslrm.inference import OutputFolder, Pace, Task, choose_samples, describe_settings, reconstruct_samples
    from gslrm.reconstruct import Reconstructor

    views = parse_view_list(arguments.render_views, option="--render-views")
    samples = choose_samples(arguments.input)
    if arguments.output is not None:
        OutputFolder(arguments.output).require_writable()  # before anything is computed
    reconstructor = Reconstructor.from_checkpoint(
        arguments.checkpoint,
        device=arguments.device,
        overrides=(*arguments.overrides, *overrides(arguments)),
        config_file=arguments.config,
    )
    task = Task(
        input_views=arguments.input_views,
        render_views=views,
        video=not arguments.no_video,
        refine=arguments.refine,
        filters=tuple(parse_filters(reconstructor.config.inference.clean)),
    )
    root = arguments.output or reconstructor.config.inference.output_dir
    if root is None:
        raise UserError("--output is missing and the checkpoint's configuration sets no inference.output_dir")
    output = OutputFolder(Path(root))
    output.require_writable()
    settings = describe_settings(reconstructor, task)
    remaining = output.open(settings, samples, redo=arguments.redo)
    pace = Pace(batch=arguments.batch, workers=arguments.workers)
    summary = reconstruct_samples(reconstructor, remaining, output, settings=settings, task=task, pace=pace)
    cli.report(summary.text(complete=len(samples) - len(remaining), listed=LISTED))
    if summary.failures and len(summary.failures) == len(samples):
        raise UserError(summary.failures[0].reason)
    if arguments.sequence is not None:
        from gslrm.motion.make import Request, make_sequence

        sequence, _ = make_sequence(output.root, Request(fps=arguments.sequence))
        cli.report(f"{sequence.folder}: a sequence of {len(sequence)} frames")
    return SOME_FAILED if summary.failures else 0


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
    add("--device", default="auto", choices=["auto", "cpu", "cuda"])
    cli.add_overrides(parser)
    arguments = parser.parse_args()
    if min(arguments.refine, arguments.workers) < 0:
        parser.error("--refine and --workers must not be negative")
    if arguments.sequence is not None and not arguments.sequence > 0:
        parser.error("--sequence must be positive: frames per second of the recording")
    if arguments.batch < 1:
        parser.error("--batch must be at least 1")
    return arguments


def overrides(arguments: argparse.Namespace) -> list[str]:
    """The options that are configuration keys too."""
    given = {"clean": arguments.clean, "formats": arguments.formats and f"[{', '.join(arguments.formats)}]"}
    chosen = [f"inference.{key}={value}" for key, value in given.items() if value is not None]
    return chosen + (["inference.mesh=true"] if arguments.mesh else [])


if __name__ == "__main__":
    cli.run(main)
