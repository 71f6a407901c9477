"""Measure what scoring costs beside reconstruction: reading, metrics, and each baseline, per sample and part.

    python benchmarks/scoring.py --data LIST --input-views 0-5 --target-views 6-11 --json scoring.json

The model's place is taken by the ground truth, so that no checkpoint is needed: reconstruction and rendering are not
part of the figures.
"""

import argparse
import json
import os
import sys
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if __name__ == "__main__":  # runs from a checkout as well as with the package installed
    sys.path.insert(0, str(Path(__file__).parents[1]))

from gslrm import cli

if TYPE_CHECKING:
    from torch import Tensor

    from gslrm.data.sample import Sample
    from gslrm.evaluation.baselines import Painter
    from gslrm.evaluation.scoring import ViewScore
    from gslrm.types import Views

Parts = dict[str, float]


def main() -> int:
    """Score every sample part by part, then report."""
    arguments = parse_arguments()

    import numba
    import torch

    from gslrm.config_io import parse_view_list
    from gslrm.data.lists import find_samples
    from gslrm.evaluation.summary import intervals, summarise
    from gslrm.evaluation.table import table

    numba.set_num_threads(arguments.threads)
    torch.set_num_threads(arguments.threads)
    inputs = parse_view_list(arguments.input_views, option="--input-views") or ()
    targets = parse_view_list(arguments.target_views, option="--target-views") or ()
    directories = find_samples(arguments.data)
    score_directory(directories[0], inputs, targets, defaultdict(float))  # compiles, which happens once per machine
    parts: Parts = defaultdict(float)
    views: list[ViewScore] = []
    started, processor = time.perf_counter(), time.process_time()
    for directory in cli.track(directories, "scoring"):
        views += score_directory(directory, inputs, targets, parts)
    with timed(parts, "summary and bootstrap"):
        summary, spans = summarise(views), intervals(views)
    wall, processor = time.perf_counter() - started, time.process_time() - processor
    cli.report(table(summary, spans))
    for name, seconds in parts.items():
        cli.report(f"{name:28}{seconds:8.2f} s{1000 * seconds / len(views):9.1f} ms per view")
    cli.report(f"{'all':28}{wall:8.2f} s, {processor:.2f} s of processor time, load {os.getloadavg()[0]:.1f}")
    if arguments.json:
        figures = {"wall_seconds": wall, "processor_seconds": processor, "parts_wall_seconds": dict(parts)}
        about = {"samples": len(directories), "views": len(views), "threads": arguments.threads}
        about |= {"load": os.getloadavg()}
        arguments.json.write_text(json.dumps({**about, **figures, "summary": summary}, indent=1) + "\n")
    return 0


def parse_arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="a sample, a directory of samples or a list file")
    parser.add_argument("--input-views", default="0-5", metavar="0-5")
    parser.add_argument("--target-views", default="6-11", metavar="6-11")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--json", type=Path, help="write the figures here")
    return parser.parse_args()


def score_directory(
    directory: Path, inputs: tuple[int, ...], targets: tuple[int, ...], parts: Parts
) -> "list[ViewScore]":
    """All methods at the target views of one sample, as scripts/evaluate.py scores them."""
    import torch

    from gslrm.cameras import nearest_to_lines
    from gslrm.data.depth import read_depth
    from gslrm.data.sample import read_sample
    from gslrm.evaluation.baselines import ALL, Given
    from gslrm.evaluation.scoring import ViewScore

    sample = read_sample(directory)
    with timed(parts, "reading images, masks"):
        truths = {index: read_truth(sample, index) for index in (*inputs, *targets)}
    with timed(parts, "reading depth"):
        depths = {index: read_depth(sample.views[index]) for index in targets}
    poses = torch.stack([sample.views[index].camera.world_from_camera for index in inputs])
    center = nearest_to_lines(poses[:, :3, 3], poses[:, :3, 2])  # where the cameras look
    given = Given(tuple(truths[index] for index in inputs), center)
    painters: dict[str, Painter | None] = {}
    for name, baseline in ALL.items():
        with timed(parts, f"preparing {name}"):
            painters[name] = baseline(given)
    return [
        ViewScore(
            str(directory),
            sample.name,
            index,
            sample.views[index].name,
            inputs,
            score_view(painters, truths[index], depths[index], parts),
        )
        for index in targets
    ]


def score_view(
    painters: "dict[str, Painter | None]", truth: "Views", depth: "Tensor | None", parts: Parts
) -> dict[str, dict[str, float]]:
    """Scores of the baselines at one view, and of the truth itself in the model's place."""
    import torch

    from gslrm.metrics import score
    from gslrm.types import Rendering

    methods = {}
    for name, painter in painters.items():
        if painter is None:
            continue
        with timed(parts, f"painting {name}"):
            rendering = painter(truth.cameras[0])
        with timed(parts, f"metrics of {name}"):
            methods[name] = score(rendering, truth, depth if name == "visual_hull" else None)
    true_depth = torch.zeros_like(truth.masks) if depth is None else depth
    with timed(parts, "metrics of ground truth"):
        methods["model"] = score(Rendering(truth.images, truth.masks, true_depth), truth, depth)
    return methods


def read_truth(sample: "Sample", index: int) -> "Views":
    """One stored view [1, ...] on white."""
    import torch

    from gslrm.data.masks import MaskPolicy, read_view
    from gslrm.types import Views

    stored = torch.from_numpy(read_view(sample.views[index], MaskPolicy())).permute(2, 0, 1)
    image = (stored[:3] + 1 - stored[3:]).clamp(0, 1)
    return Views(image[None], stored[None, 3:], sample.views[index].camera[None])


@contextmanager
def timed(parts: Parts, name: str) -> Iterator[None]:
    """Add the seconds of the block to a part."""
    started = time.perf_counter()
    yield
    parts[name] += time.perf_counter() - started


if __name__ == "__main__":
    cli.run(main)
