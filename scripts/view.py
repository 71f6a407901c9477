"""Look at reconstructions: on a page of a running server, or as one file that opens without Python.

    python scripts/view.py OUT                                       # pip install viser; then open the address shown
    python scripts/view.py OUT --static mouse.html                   # one page for a web site or a mail
    python scripts/view.py OUT_A --compare OUT_B                     # two models, switched between
    python scripts/view.py gaussians.spz --data SAMPLE               # a file, with the cameras of its sample

OUT is the output of inference.py, of one sample or of many, which then play in the order of their names; a sequence of
scripts/make_sequence.py; or a file of Gaussians. See docs/viewer.md.
"""

import argparse
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from gslrm import cli

if TYPE_CHECKING:
    from gslrm.view.scene import Scene


def main() -> int:
    """Read, then serve or write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("output", type=Path, metavar="OUT", help="what to look at")
    parser.add_argument("--compare", type=Path, metavar="OUT_B", help="another model's output for the same samples")
    parser.add_argument("--static", type=Path, metavar="FILE.html", help="write one page instead of serving")
    parser.add_argument("--data", type=Path, help="the samples, where OUT does not say: a sample, a directory, a list")
    parser.add_argument("--input-views", metavar="0-5", help="views that were input, where OUT does not say")
    parser.add_argument(
        "--resolution-ratio",
        type=float,
        metavar="R",
        help="pixels of the samples' pictures per pixel of the model's, where OUT does not say",
    )
    parser.add_argument(
        "--max-gaussians", type=int, metavar="N", help="of each moment on a page: the most visible ones"
    )
    parser.add_argument(
        "--picture-side", type=int, default=256, metavar="PX", help="of cameras' pictures on a page; 0 for none"
    )
    parser.add_argument("--host", default="localhost", help="0.0.0.0 to be seen from other machines")
    parser.add_argument("--port", type=int, default=8080)
    arguments = parser.parse_args()
    if arguments.max_gaussians is not None and (arguments.max_gaussians < 1 or arguments.static is None):
        parser.error("--max-gaussians must be at least 1, and needs --static")
    if arguments.picture_side < 0 or (arguments.resolution_ratio is not None and not arguments.resolution_ratio > 0):
        parser.error("--picture-side must not be negative, --resolution-ratio positive")

    from gslrm.config_io import parse_view_list
    from gslrm.view.folders import read_scene

    inputs = None if arguments.input_views is None else parse_view_list(arguments.input_views, option="--input-views")
    read = partial(read_scene, data=arguments.data, inputs=inputs, ratio=arguments.resolution_ratio)
    scenes = [read(path) for path in (arguments.output, arguments.compare) if path is not None]
    if not scenes[0].moments[0].cameras:
        cli.report("no cameras are known; give the samples with --data to see them with their pictures")
    if arguments.static is not None:
        _write(arguments, scenes)
        return 0

    from gslrm.view.server import serve

    serve(scenes, host=arguments.host, port=arguments.port)
    return 0


def _write(arguments: argparse.Namespace, scenes: "list[Scene]") -> None:
    """Write the page, and say what it weighs."""
    from gslrm.render import build_rasterizer
    from gslrm.view.static_page import write_page
    from gslrm.view.thinning import thin

    budget = arguments.max_gaussians
    reduce = partial(thin, budget=budget, rasterizer=build_rasterizer("cpu", device="cpu")) if budget else None
    track = partial(cli.track, description="packing")
    size = write_page(arguments.static, scenes, reduce=reduce, picture_side=arguments.picture_side, track=track)
    if any(moment.load().degree for scene in scenes for moment in scene.moments[:1]):
        cli.report("the page shows one colour per Gaussian: colours that change with the direction are left out")
    each = size.splats / size.moments
    cli.report(
        f"{arguments.static}: {size.page / 1e6:.2f} MB; {size.moments} moments of {each / 1e3:.0f} kB "
        f"({size.splats / max(size.gaussians, 1):.1f} bytes per Gaussian), pictures {size.pictures / 1e3:.0f} kB"
    )


if __name__ == "__main__":
    cli.run(main)
