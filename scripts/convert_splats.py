"""Gaussians from any format to any other, cleaned, compared, or as a mesh.

    python scripts/convert_splats.py gaussians.ply gaussians.spz gaussians.sog
    python scripts/convert_splats.py gaussians.ply --table                        # size and fidelity of every format
    python scripts/convert_splats.py gaussians.ply clean.ply --clean opacity:0.02,hull:2 --sample SAMPLE
    python scripts/convert_splats.py gaussians.ply --mesh mouse.glb

Formats are told by what a file holds on reading, by the ending on writing: .ply, .compressed.ply, .lgm.ply, .splat,
.spz, .sog. With a sample, in whose world the Gaussians are, filters see its masks and the cost is measured.
"""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from gslrm import cli

if TYPE_CHECKING:
    from gslrm.clean import Evidence
    from gslrm.clean.cost import Truths
    from gslrm.types import Gaussians


def main() -> int:
    """Read, clean, write, compare."""
    arguments = _parse()

    from gslrm.clean import parse_filters
    from gslrm.errors import UserError
    from gslrm.export import format_by_suffix, read_gaussians, write_gaussians
    from gslrm.render import build_rasterizer

    filters = parse_filters(arguments.clean)
    for path in arguments.outputs:
        format_by_suffix(path)  # before any work
    gaussians = read_gaussians(arguments.input)
    cli.report(f"{arguments.input}: {len(gaussians.means)} Gaussians, harmonics of degree {gaussians.degree}")
    rasterizer = build_rasterizer("cpu", device="cpu")
    try:
        evidence, truths = _sample(arguments, gaussians, rasterizer)
        if filters:
            gaussians = _clean(arguments, gaussians, filters, evidence, truths)
        for path in arguments.outputs:
            write_gaussians(gaussians, path)
            cli.report(f"{path}: {path.stat().st_size / 1000:.0f} kB")
        if arguments.table:
            from gslrm.format_table import format_rows, measure_formats

            rows = measure_formats(gaussians, rasterizer, truths, ratio=arguments.resolution_ratio)
            cli.report(format_rows(rows))
    except ValueError as error:
        raise UserError(f"{arguments.input}: {error}") from error
    if arguments.mesh:
        from gslrm.mesh import extract_mesh, write_glb

        mesh = extract_mesh(gaussians, rasterizer, resolution=arguments.mesh_resolution)
        write_glb(mesh, arguments.mesh)
        cli.report(f"{arguments.mesh}: {len(mesh.vertices)} vertices, {len(mesh.faces)} triangles")
    return 0


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("input", type=Path, help="file of Gaussians, or the folder of an unbundled .sog")
    parser.add_argument("outputs", type=Path, nargs="*", help="files to write; their endings choose the formats")
    parser.add_argument(
        "--clean", default="", metavar="FILTERS", help="such as opacity:0.02,hull:2; see docs/formats.md"
    )
    parser.add_argument("--sample", type=Path, help="sample in whose world the Gaussians are: masks, cameras, truth")
    parser.add_argument("--input-views", default="0-5", metavar="0-5", help="views whose masks filters may see")
    parser.add_argument(
        "--resolution-ratio",
        type=float,
        default=1.0,
        metavar="R",
        help="pixels of the sample's pictures per pixel of the model's: 4 for a model of 128 px on pictures of 512",
    )
    parser.add_argument("--table", action="store_true", help="print size and fidelity of every format")
    parser.add_argument("--mesh", type=Path, metavar="OUT.glb", help="write the surface as coloured triangles")
    parser.add_argument("--mesh-resolution", type=int, default=192, metavar="N", help="grid points along the object")
    arguments = parser.parse_args()
    if not (arguments.outputs or arguments.table or arguments.mesh):
        parser.error("nothing to do: name files to write, or give --table or --mesh")
    if arguments.mesh_resolution < 16 or not arguments.resolution_ratio > 0:
        parser.error("--mesh-resolution must be at least 16 and --resolution-ratio positive")
    return arguments


def _sample(arguments: argparse.Namespace, gaussians: "Gaussians", rasterizer: object) -> tuple["Evidence", "Truths"]:
    """What filters may know and the true views, of the sample if one is given."""
    from gslrm.clean import Evidence
    from gslrm.clean.reconstruction import AROUND
    from gslrm.clean.sample import true_views
    from gslrm.config_io import parse_view_list
    from gslrm.look_around import cameras_around

    needs_cameras = "contribution" in arguments.clean
    around = cameras_around(gaussians, AROUND, 256) if needs_cameras else None
    cameras = [around[index : index + 1] for index in range(AROUND)] if around is not None else []
    if arguments.sample is None:
        return Evidence((), cameras, rasterizer), {}
    truths = true_views(arguments.sample, parse_view_list(arguments.input_views, option="--input-views"))
    given = truths["input"]
    return Evidence(given, [*(view.cameras for view in given), *cameras], rasterizer), truths


def _clean(
    arguments: argparse.Namespace, gaussians: "Gaussians", filters: tuple, evidence: "Evidence", truths: "Truths"
) -> "Gaussians":
    """The cleaned Gaussians; what each filter removed and the cost are reported."""
    from gslrm.clean import clean
    from gslrm.clean.cost import cost
    from gslrm.errors import UserError
    from gslrm.format_table import painter

    kept, steps = clean(gaussians, filters, evidence)
    for step in steps:
        cli.report(f"{step.filter}: {step.before} -> {step.after}")
    if not len(kept.means):
        raise UserError(f"--clean {arguments.clean} leaves nothing of {arguments.input}; filter less")
    painters = [painter(state, evidence.rasterizer, arguments.resolution_ratio) for state in (gaussians, kept)]
    for kind, scores in cost(painters[0], painters[1], truths).items():
        for name, score in scores.items():
            cli.report(f"{kind} {name}: {score['before']:.3f} -> {score['after']:.3f} ({score['change']:+.3f})")
    return kept


if __name__ == "__main__":
    cli.run(main)
