"""A lab's recording to samples in FaceLift's layout, each with a proof that its views agree.

    python scripts/prepare_data.py --videos VIDEOS --calibration FILE --background PLATES --output OUT

VIDEOS holds one folder or video per camera, named as in the calibration. Every kept moment becomes a directory such as
OUT/frame_000012; a moment whose views do not agree is not written, and OUT/report.html says why. The same command again
goes on where it was stopped.
"""

import argparse
import os
from pathlib import Path

from gslrm import cli
from gslrm.errors import UserError


def main() -> int:
    """Parse, then prepare."""
    arguments = _parser().parse_args()
    cameras, frames = _cameras(arguments.cameras), _slice(arguments.frames)

    from gslrm.prepare.memory import return_large_arrays
    from gslrm.prepare.options import Options
    from gslrm.prepare.pipeline import Plan, prepare

    options = Options(
        videos=arguments.videos.resolve(),
        calibration=arguments.calibration.resolve(),
        format=arguments.format,
        cameras=cameras,
        pair_by_index=arguments.sync == "index",
        unit=arguments.unit,
        background=arguments.background and arguments.background.resolve(),
        given_masks=arguments.masks and arguments.masks.resolve(),
        mask_source=arguments.mask_source,
        mask_weights=arguments.mask_weights and arguments.mask_weights.resolve(),
        consensus=not arguments.no_consensus,
        size=arguments.size,
        crop=arguments.crop,
        crop_margin=arguments.crop_margin,
        world=arguments.world,
        target_camera_distance=arguments.target_camera_distance,
        z_up=not arguments.no_z_up,
        keep_background=arguments.keep_background,
    )
    return_large_arrays()
    plan = Plan(
        output=arguments.output,
        frames=frames,
        workers=arguments.workers or _cores(),
        val_share=arguments.val_share,
        val_blocks=arguments.val_blocks,
        gap=arguments.gap,
    )
    cli.report(prepare(options, plan))
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    source = parser.add_argument_group("recording")
    source.add_argument(
        "--videos", type=Path, required=True, help="a folder (of videos or pictures) or video per camera"
    )
    source.add_argument("--calibration", type=Path, required=True, help="file or directory of any supported format")
    source.add_argument("--format", help="of the calibration, when it is not recognised")
    source.add_argument("--cameras", default="", metavar="NAME=FOLDER,...", help="cameras to use and their folders")
    source.add_argument("--sync", choices=["auto", "index"], default="auto", help="index: by frame number alone")
    source.add_argument("--unit", choices=["mm", "cm", "m", "any"], help="of the calibration, if not its format's")
    source.add_argument("--frames", default="::", metavar="A:B:STEP", help="numbers of the first camera (default: all)")
    masks = parser.add_argument_group("masks (default: a background estimated from the recording itself)")
    given = masks.add_mutually_exclusive_group()
    given.add_argument("--background", type=Path, help="one picture of the empty arena per camera")
    given.add_argument("--masks", type=Path, help="one folder of pictures or mask video per camera")
    masks.add_argument(
        "--mask-source",
        choices=["auto", "plate", "temporal", "given", "alpha", "white", "rembg", "sam2"],
        default="auto",
        help="auto: --masks, else --background, else temporal",
    )
    masks.add_argument("--mask-weights", type=Path, help="weights of rembg (ONNX) or SAM 2")
    masks.add_argument("--no-consensus", action="store_true", help="leave masks as they are; do not let views vote")
    result = parser.add_argument_group("samples")
    result.add_argument("--output", type=Path, required=True)
    result.add_argument("--size", type=int, default=512, help="side of the pictures in pixels (default 512)")
    result.add_argument(
        "--crop",
        choices=["fill", "pretrained", "whole"],
        default="fill",
        help="fill: the animal fills the frame; pretrained: FaceLift's focal length; whole: the undistorted picture",
    )
    result.add_argument("--crop-margin", type=float, default=0.05, help="of --crop fill: free share at each edge")
    result.add_argument(
        "--world",
        choices=["rig", "sample", "recording"],
        default="rig",
        help="rig: the calibration's own; else centred, scaled and z up, for each sample or for all alike",
    )
    result.add_argument("--target-camera-distance", type=float, default=2.7, help="mean, if --world is not rig")
    result.add_argument("--no-z-up", action="store_true", help="keep the calibration's axes in a normalised world")
    result.add_argument("--keep-background", action="store_true", help="keep the real scene instead of white")
    lists = parser.add_argument_group("lists")
    lists.add_argument("--val-share", type=float, default=0.1, help="of the samples, for validation (default 0.1)")
    lists.add_argument("--val-blocks", type=int, default=1, help="contiguous blocks they form (default 1)")
    lists.add_argument("--gap", type=int, default=10, help="frames left out between the lists (default 10)")
    parser.add_argument("--workers", type=int, default=0, help="threads (default: one per core)")
    return parser


def _slice(text: str) -> slice:
    parts = text.split(":")
    try:
        numbers = [int(part) if part else None for part in parts]
    except ValueError:
        numbers = []
    if len(parts) == 1 and numbers and numbers[0] is not None:
        return slice(numbers[0], numbers[0] + 1)
    if not 2 <= len(numbers) <= 3 or any(number is not None and number < 0 for number in numbers) or 0 in numbers[2:]:
        raise UserError(f"--frames {text}: write A:B or A:B:STEP, such as 0:18000:10, with whole numbers from 0")
    return slice(*numbers)


def _cameras(text: str) -> tuple[tuple[str, str], ...]:
    pairs = [part.partition("=") for part in text.split(",") if part]
    return tuple((name.strip(), (folder or name).strip()) for name, _, folder in pairs)


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


if __name__ == "__main__":
    cli.run(main)
