"""The report of a preparation: what was written, what was not, and why."""

from collections.abc import Sequence
from functools import partial
from typing import Any

from gslrm.data.masks import MaskPolicy
from gslrm.prepare.options import Options
from gslrm.prepare.output import OutputFolder, Record
from gslrm.prepare.usable import LIMITS
from gslrm.proof.album import Album
from gslrm.proof.report import write_report
from gslrm.proof.stored import check_sample

WORLDS = {
    "rig": "positions and unit are the rig's own",
    "sample": "each sample's world is centred on the animal and scaled",
    "recording": "one centred and scaled world for all samples",
}


def report_preparation(
    output: OutputFolder, names: Sequence[str], options: Options, *, first_camera: str, extra: dict[str, Any]
) -> None:
    """Write report.html and report.json.

    Args:
        output: with all moments done.
        names: of the moments, in order.
        options: of the preparation.
        first_camera: whose frames name the moments.
        extra: further mappings for report.json.

    Raises:
        UserError: a file cannot be written.
    """
    album = Album(len(names))
    for record in output.records(names):
        album.offer(record, partial(_picture, output, record))
    write_report(
        output.root,
        output.records(names),
        pictures={name: picture for name, picture in album.pictures.items() if picture},
        limits=LIMITS,
        title=f"Preparation of {options.videos.parent.name}/{options.videos.name}",
        time_label=f"frame of {first_camera}",
        notes=[f"{options.size} px crops, {options.crop}; {WORLDS[options.world]}."],
        extra=extra,
    )


def _picture(output: OutputFolder, record: Record) -> bytes:
    """The stored picture of a rejected moment, else one of the written sample; empty if there is none."""
    name = record["sample"]
    if not record["passed"]:
        return output.picture(name) or b""
    return check_sample(output.root / name, name, MaskPolicy(), LIMITS).picture or b""
