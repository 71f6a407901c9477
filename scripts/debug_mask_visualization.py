"""Draw the masks that training sees: image, mask, overlay, boundary and share of the foreground of every input view.

python scripts/debug_mask_visualization.py --config configs/mouse_gslrm_local_rtx3060.yaml --num_samples 5 \
    --output_dir experiments/debug
"""

import argparse
from pathlib import Path

from gslrm import cli


def main() -> int:
    """Parse, load evenly spread samples as training does, draw a sheet of each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", type=Path, required=True, help="its data set, and how it takes masks and crops")
    parser.add_argument("--num_samples", "--num-samples", type=int, default=5, help="evenly spread over the data set")
    parser.add_argument("--output_dir", "--output-dir", type=Path, default=Path("experiments/debug"))
    cli.add_overrides(parser)
    arguments = parser.parse_args()
    if arguments.num_samples < 1:
        parser.error("--num_samples must be at least 1")

    from gslrm.config_io import load_config
    from gslrm.data import build_dataset
    from gslrm.data.sampler import SampleKey
    from gslrm.evaluation.protocol import spread
    from gslrm.export import write_picture
    from gslrm.visualize import mask_sheet

    dataset = build_dataset(load_config(arguments.config, arguments.overrides))
    for position in cli.track(spread(len(dataset), arguments.num_samples), "drawing"):
        batch = dataset[SampleKey(0, position)]
        views = dataset.sample(position).select(tuple(batch.input_index.tolist()))
        names = [f"view {view.index}\n{view.name}" for view in views]
        path = arguments.output_dir / f"{position:06d}_{batch.names[0]}.png"
        write_picture(path, mask_sheet(batch.input.images, batch.input.masks, names, title=batch.names[0]))
        cli.report(str(path))
    return 0


if __name__ == "__main__":
    cli.run(main)
