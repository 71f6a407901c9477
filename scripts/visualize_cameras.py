"""Draw a sample's cameras before and after normalisation: frusta, optical axes, corner rays, object, ray channels.

python scripts/visualize_cameras.py --data data_mouse_local/data_mouse_train.txt \
    --config configs/mouse_gslrm_local_rtx3060.yaml --output experiments/cameras

For every sample drawn: cameras.png (from above and from the side), rays.png (what the network is told of each pixel)
and cameras.html (turns under the mouse, with a table of numbers). A rig that cannot be normalised is drawn as it is
stored, with the reason, and ends the command with status 1.
"""

import argparse
from pathlib import Path

from gslrm import cli

DEFAULT_CONFIG = Path(__file__).resolve().parents[1] / "configs" / "mouse_gslrm_local_rtx3060.yaml"


def main() -> int:
    """Parse, draw evenly spread samples."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="a sample, a directory of samples or a list file")
    parser.add_argument("--config", type=Path, default=DEFAULT_CONFIG, help="how masks are taken and cameras placed")
    parser.add_argument("--output", type=Path, required=True, help="one folder per sample is made in it")
    parser.add_argument("--num-samples", type=int, default=1, help="samples to draw, evenly spread over the list")
    cli.add_overrides(parser)
    arguments = parser.parse_args()
    if arguments.num_samples < 1:
        parser.error("--num-samples must be at least 1")

    from gslrm.camera_report import write_camera_report
    from gslrm.config_io import load_config
    from gslrm.data.lists import find_samples, require_images
    from gslrm.data.sample import read_sample
    from gslrm.evaluation.protocol import spread

    config = load_config(arguments.config, arguments.overrides)
    directories = find_samples(arguments.data)
    require_images(directories)
    problems = 0
    for index in cli.track(spread(len(directories), arguments.num_samples), "drawing"):
        sample = read_sample(directories[index])
        problem = write_camera_report(sample, config, arguments.output / sample.name)
        cli.report(f"{arguments.output / sample.name}: {problem or 'cameras.png, rays.png, cameras.html'}")
        problems += problem is not None
    return 1 if problems else 0


if __name__ == "__main__":
    cli.run(main)
