"""Show a rig's calibration as a table, or write it in another format.

    python scripts/convert_calibration.py --input label3d_dannce.mat
    python scripts/convert_calibration.py --input sparse/0 --output calibration.toml --output-format anipose

The table gives for each camera its intrinsics (pixels; the first pixel's centre is at 0.5, 0.5), distortion, place in
the world, distance to the point where the optical axes meet, and elevation and azimuth as seen from there (degrees; z
is up). What a format cannot carry, such as skew, is refused. A picture of a thing is still right only with the camera
that took it: converting a calibration changes no picture.
"""

import argparse
import re
from pathlib import Path
from typing import TYPE_CHECKING

from gslrm import cli
from gslrm.errors import UserError

if TYPE_CHECKING:
    from gslrm.data.rig import Lens, Rig

OUTPUT_FORMATS = ("anipose", "nerfstudio", "facelift")


def main() -> int:
    """Read, then show or write."""
    arguments = _parse()
    if (arguments.output is None) != (arguments.output_format is None):
        raise UserError("--output and --output-format belong together: give both, or neither to see a table")
    from gslrm.data.calibration import read_calibration, unit_warning, write_calibration

    rig = _with_sizes(read_calibration(arguments.input, format=arguments.format), arguments.sizes)
    if arguments.output is None:
        cli.report("\n".join([*_summary(rig), "", *_table(rig)]))
    else:
        write_calibration(arguments.output, rig, format=arguments.output_format)
        cli.report(f"{arguments.output}: {len(rig.cameras)} cameras, {arguments.output_format}")
        for left_behind in _left_behind(rig):
            cli.report(f"not carried over: {left_behind}")
    warning = unit_warning(rig)
    if warning is not None:
        cli.report(f"warning: {warning}")
    return 0


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--input", type=Path, required=True, help="calibration file, or directory of files per camera")
    parser.add_argument("--format", metavar="NAME", help="format of the input (default: found out from its content)")
    parser.add_argument("--output", type=Path, help="file to write (default: none, show a table)")
    parser.add_argument("--output-format", choices=OUTPUT_FORMATS, help="format of the output")
    parser.add_argument(
        "--sizes", metavar="WxH", nargs="+", help="size of the pictures, where the input has none: one, or one a camera"
    )
    return parser.parse_args()


def _with_sizes(rig: "Rig", sizes: list[str] | None) -> "Rig":
    """The rig with sizes for cameras that have none."""
    from dataclasses import replace

    if sizes is None:
        return rig
    if len(sizes) not in (1, len(rig.cameras)):
        raise UserError(f"--sizes: {len(sizes)} sizes for {len(rig.cameras)} cameras; give one, or one per camera")
    cameras = []
    for camera, text in zip(rig.cameras, sizes if len(sizes) > 1 else sizes * len(rig.cameras), strict=True):
        width, height = _size(text)
        if camera.width is not None and (camera.width, camera.height) != (width, height):
            raise UserError(f"--sizes {text}: the file says {camera.width}x{camera.height} for {camera.name}")
        cameras.append(replace(camera, width=width, height=height))
    return replace(rig, cameras=tuple(cameras))


def _size(text: str) -> tuple[int, int]:
    match = re.fullmatch(r"([1-9]\d{0,5})x([1-9]\d{0,5})", text)
    if match is None:
        raise UserError(f"--sizes {text}: must be WIDTHxHEIGHT in pixels, such as 1152x1024")
    return int(match[1]), int(match[2])


def _summary(rig: "Rig") -> list[str]:
    from gslrm.data.rig_checks import meeting

    found = meeting(rig)
    place = ", ".join(f"{value:.4g}" for value in found.point)
    lines = [
        f"{rig.source}: {rig.format}, {len(rig.cameras)} cameras, unit {rig.unit or 'unknown'}",
        f"optical axes meet near ({place}); they miss it by up to {found.angle.max():.2g} degrees",
    ]
    if rig.undistorted:
        lines.append("the pictures that belong to it are undistorted")
    return lines + [f"also in the file: {item}" for item in _left_behind(rig)]


def _left_behind(rig: "Rig") -> list[str]:
    """What a file says beside its cameras."""
    found = []
    if rig.frames is not None:
        found.append(f"a sync table of {len(rig.frames)} times")
    if rig.labels is not None:
        found.append(f"{len(rig.labels.time)} labelled times of {rig.labels.pixel.shape[2]} joints")
    return found


def _table(rig: "Rig") -> list[str]:
    header = ("camera", "size", "fx", "fy", "cx", "cy", "skew", "distortion", "position", "distance", "elev", "azim")
    rows = [header, *_rows(rig)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(header))]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]


def _rows(rig: "Rig") -> list[tuple[str, ...]]:
    import numpy as np

    from gslrm.data.rig_checks import meeting

    point, rows = meeting(rig).point, []
    for camera in rig.cameras:
        (fx, skew, cx), (_, fy, cy), _ = camera.intrinsics.tolist()
        offset = camera.position - point
        distance = float(np.linalg.norm(offset))
        angles = np.degrees([np.arcsin(offset[2] / distance), np.arctan2(offset[1], offset[0])])
        size = "unknown" if camera.width is None else f"{camera.width}x{camera.height}"
        place = " ".join(f"{value:.4g}" for value in camera.position)
        numbers = (f"{value:.2f}" for value in (fx, fy, cx, cy, skew))
        ends = (f"{distance:.4g}", *(f"{angle:.1f}" for angle in angles))
        rows.append((camera.name, size, *numbers, _distortion(camera.lens), place, *ends))
    return rows


def _distortion(lens: "Lens") -> str:
    if lens.is_identity:
        return "none"
    values = list(lens.coefficients)
    while values and values[-1] == 0:
        values.pop()
    text = " ".join(f"{value:.4g}" for value in values)
    return f"fisheye {text}".strip() if lens.model == "fisheye" else text


if __name__ == "__main__":
    cli.run(main)
