"""The output of inference over a recording to one sequence that the viewer plays, with figures and a video.

    python scripts/make_sequence.py OUT --fps 100 --unit mm                # OUT: --output of inference.py
    python scripts/make_sequence.py OUT --fps 100 --unit mm --smooth 3     # steadied over 7 frames

Writes OUT/sequence: manifest.json and frames/ (docs/motion.md), motion.json and motion.html with speed and flicker, and
side_by_side.mp4: an input camera, the rendering there, a free orbit.
"""

import argparse
from pathlib import Path

from gslrm import cli


def main() -> int:
    """Parse, make the sequence, report its figures."""
    arguments = _parse()

    from gslrm.motion.make import Film, Request, make_sequence

    film = Film(arguments.view, arguments.size, arguments.play_fps, arguments.turns)
    request = Request(
        fps=arguments.fps,
        unit=arguments.unit,
        reach=arguments.smooth,
        steadied=tuple(arguments.smooth_what),
        film=None if arguments.no_video else film,
    )
    sequence, figures = make_sequence(arguments.output, request, folder=arguments.sequence, samples=arguments.samples)
    cli.report(f"{sequence.folder}: {len(sequence)} frames, {sequence.size / len(sequence) / 1000:.0f} kB each")
    for name, value in figures["means"].items():
        cli.report(f"{name}: {'unknown' if value is None else format(value, '.3g')}")
    return 0


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("output", type=Path, metavar="OUT", help="output folder of inference.py")
    add("--samples", type=Path, help="folder of the samples (default: where inference.py read them, if still there)")
    add("--sequence", type=Path, metavar="DIR", help="where to write (default: OUT/sequence)")
    add("--fps", type=float, default=30.0, help="frames per second that the samples' numbers count (default: 30)")
    add("--unit", default="", help="of the samples' world, such as mm; only a name")
    add("--smooth", type=int, default=0, metavar="N", help="steady over N frames on either side (default: 0, not)")
    add(
        "--smooth-what",
        nargs="+",
        choices=["place", "brightness"],
        default=["place", "brightness"],
        help="what --smooth steadies (default: both)",
    )
    add("--no-video", action="store_true", help="skip the side-by-side video")
    add("--play-fps", type=int, default=25, help="frames per second of the video (default: 25)")
    add("--view", type=int, default=0, help="index of the input camera in the video (default: 0)")
    add("--size", type=int, default=384, help="pixels across a panel of the video (default: 384)")
    add("--turns", type=float, default=1.0, help="of the orbit over the whole video (default: 1)")
    arguments = parser.parse_args()
    if not arguments.fps > 0 or arguments.smooth < 0 or arguments.play_fps < 1 or arguments.size < 16:
        parser.error("--fps and --play-fps must be positive, --smooth not negative, --size at least 16")
    if arguments.turns < 0:
        parser.error("--turns must not be negative")
    return arguments


if __name__ == "__main__":
    cli.run(main)
