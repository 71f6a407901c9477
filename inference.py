"""A checkpoint and calibrated samples to Gaussians, pictures, a video and figures.

    python inference.py --checkpoint demo_output/run/checkpoints/latest --input SAMPLE --output OUT   # also on a CPU

Samples need no preparation: any unit, any intrinsics. All outputs are in the sample's own world and at its own cameras.
"""

import argparse
from pathlib import Path

from gslrm import cli


def main() -> int:
    """Parse, then reconstruct and write sample by sample."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--checkpoint", type=Path, required=True, help="of train_gslrm.py, or published weights")
    parser.add_argument("--config", type=Path, help="YAML file, for weights that carry no configuration: FaceLift's")
    parser.add_argument("--input", type=Path, required=True, help="a sample, a directory of samples or a list file")
    parser.add_argument(
        "--output", type=Path, help="output folder (default: inference.output_dir of the configuration)"
    )
    parser.add_argument("--input-views", metavar="0-5", help="views given to the model (default: as in training)")
    parser.add_argument("--render-views", default="all", metavar="6-11|all|none", help="cameras to render at")
    parser.add_argument("--no-video", action="store_true", help="skip the turntable")
    parser.add_argument("--refine", type=int, default=0, metavar="N", help="gradient steps on each sample's Gaussians")
    parser.add_argument("--clean", metavar="FILTERS", help="as opacity:0.02,hull:2; default: inference.clean")
    parser.add_argument("--formats", nargs="+", metavar="NAME", help="as spz sog splat; default: inference.formats")
    parser.add_argument("--mesh", action="store_true", help="write the surface as mesh.glb too")
    parser.add_argument("--device", default="auto", choices=["auto", "cpu", "cuda"])
    cli.add_overrides(parser)
    arguments = parser.parse_args()
    if arguments.refine < 0:
        parser.error("--refine must not be negative")

    from gslrm.clean import parse_filters
    from gslrm.clean.reconstruction import clean_reconstruction
    from gslrm.config_io import parse_view_list
    from gslrm.data.lists import find_samples
    from gslrm.data.sample import read_sample
    from gslrm.errors import UserError
    from gslrm.export import write_json
    from gslrm.reconstruct import Reconstructor, choose_inputs
    from gslrm.refine import refine
    from gslrm.training.outputs import write_outputs

    wanted = parse_view_list(arguments.render_views, option="--render-views")
    directories = find_samples(arguments.input)
    reconstructor = Reconstructor.from_checkpoint(
        arguments.checkpoint,
        device=arguments.device,
        overrides=(*arguments.overrides, *_overrides(arguments)),
        config_file=arguments.config,
    )
    names = [directory.name for directory in directories]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise UserError(f"{arguments.input}: several samples are called {twice[0]!r}, their outputs would be mixed")
    output = arguments.output or reconstructor.config.inference.output_dir
    if output is None:
        raise UserError("--output is missing and the checkpoint's configuration sets no inference.output_dir")
    filters = parse_filters(reconstructor.config.inference.clean)
    for directory in cli.track(directories, "reconstructing"):
        sample = read_sample(directory)
        inputs = choose_inputs(reconstructor.config, sample, arguments.input_views)
        reconstruction = reconstructor.reconstruct(reconstructor.place(sample, inputs))
        if arguments.refine:
            reconstruction = refine(reconstructor, reconstruction, arguments.refine)
        folder = Path(output) / sample.name
        if filters:
            reconstruction, cleaning = clean_reconstruction(reconstructor, reconstruction, filters)
            write_json(folder / "clean.json", cleaning)
        write_outputs(folder, reconstructor, reconstruction, wanted, video=not arguments.no_video)
        cli.report(str(folder))
    return 0


def _overrides(arguments: argparse.Namespace) -> list[str]:
    """The options that are configuration keys too."""
    given = {"clean": arguments.clean, "formats": arguments.formats and f"[{', '.join(arguments.formats)}]"}
    chosen = [f"inference.{key}={value}" for key, value in given.items() if value is not None]
    return chosen + (["inference.mesh=true"] if arguments.mesh else [])


if __name__ == "__main__":
    cli.run(main)
