"""Draw the masks that training sees: image, mask, overlay with contour, share of the foreground.

python scripts/debug_mask_visualization.py --config configs/mouse_gslrm_local_rtx3060.yaml --num_samples 5
"""

import argparse
from pathlib import Path

from gslrm import cli


def main() -> int:
    """Parse, load evenly spread samples as training does, draw every input view."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", type=Path, required=True)
    parser.add_argument("--num_samples", "--num-samples", type=int, default=5)
    parser.add_argument("--output_dir", "--output-dir", type=Path, default=Path("experiments/debug"))
    cli.add_overrides(parser)
    arguments = parser.parse_args()
    if arguments.num_samples < 1:
        parser.error("--num_samples must be at least 1")

    import numpy as np

    from gslrm.config_io import load_config
    from gslrm.data import build_dataset
    from gslrm.data.sampler import SampleKey
    from gslrm.export import write_picture
    from gslrm.training.evaluate import spread
    from gslrm.visualize import mask_debug_picture

    dataset = build_dataset(load_config(arguments.config, arguments.overrides))
    for position in cli.track(spread(len(dataset), arguments.num_samples), "drawing"):
        batch = dataset[SampleKey(0, position)]
        rows = [
            mask_debug_picture(image, mask, title=f"{batch.names[0]} view {index}")
            for image, mask, index in zip(
                batch.input.images, batch.input.masks, batch.input_index.tolist(), strict=True
            )
        ]
        path = arguments.output_dir / f"{position:06d}_{batch.names[0]}.png"
        write_picture(path, np.concatenate(rows))
        cli.report(str(path))
    return 0


if __name__ == "__main__":
    cli.run(main)
