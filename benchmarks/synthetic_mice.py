"""How fast synthetic mice are made, by step, on one core.

    python benchmarks/synthetic_mice.py --sizes 128 256 --samples 40

A sample is twelve object-centred views with masks and depth. Times are of the processor, so that a busy machine does
not count; compiling the kernels, once per machine, is left out.
"""

import argparse
import os
import tempfile
import time
from pathlib import Path

from gslrm import cli

WARM = 3  # samples that are made first and not counted
VIEWS, RIG_VIEWS, CROP = 12, 6, 1.25


def main() -> int:
    """Parse, measure every size, report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", type=int, nargs="+", default=[128, 256], help="pixels")
    parser.add_argument("--samples", type=int, default=40)
    arguments = parser.parse_args()
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    cli.report("size  body  scene  pictures  files   all, ms   samples/s/core")
    for size in arguments.sizes:
        steps = measure(size, arguments.samples)
        total = sum(steps)
        cells = "  ".join(f"{1000 * step:6.1f}" for step in steps)
        cli.report(f"{size:4d}  {cells}   {1000 * total:6.1f}   {1 / total:6.1f}")
    return 0


def measure(size: int, samples: int) -> list[float]:
    """Seconds of the processor per sample for the animal, its cameras, the pictures and the files."""
    import cv2
    import numpy as np
    import torch

    from gslrm.data.sample import write_sample
    from gslrm.data.synthetic_mouse import sample_mouse
    from gslrm.data.synthetic_raster import photograph
    from gslrm.data.synthetic_scene import Views, mouse_options, scene_of
    from gslrm.data.synthetic_sensor import Sensor, record

    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    views = Views(size, extra=VIEWS - RIG_VIEWS, held_out=False, crop=CROP)
    options = mouse_options(views)
    steps = np.zeros(4)
    with tempfile.TemporaryDirectory() as folder:
        for index in range(-WARM, samples):
            rng = np.random.default_rng([7, index + WARM])
            marks = [time.process_time()]
            mouse = sample_mouse(rng, options)
            marks.append(time.process_time())
            mesh, cameras, _ = scene_of(rng, views, animal=lambda _, mouse=mouse: mouse)
            marks.append(time.process_time())
            pictures = photograph(mesh, cameras, grain_seed=index + WARM)
            marks.append(time.process_time())
            stored = record(pictures, Sensor(), seed=(7, index + WARM), views=RIG_VIEWS)
            write_sample(
                Path(folder) / str(index),
                images=stored.images, masks=stored.masks, depths=stored.depths, cameras=cameras,
            )  # fmt: skip
            marks.append(time.process_time())
            if index >= 0:
                steps += np.diff(marks)
    return (steps / samples).tolist()


if __name__ == "__main__":
    cli.run(main)
