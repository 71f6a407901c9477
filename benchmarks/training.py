"""Measure what training costs beside its passes: memory that stays, logging, loading. Linux only.

    python scripts/make_synthetic_mice.py --output MICE --num-samples 24 --seed 3 --size 512
    python benchmarks/training.py memory --data MICE/data_mouse_train.txt
    python benchmarks/training.py logging --data MICE/data_mouse_train.txt
    python benchmarks/training.py loading --data MICE/data_mouse_train.txt

Wall time depends on what else the machine does, so processor time stands beside it: that of this process and of all
that it started. Nothing here is asserted; figures that belong together are measured in turn, side by side.
"""

import argparse
import cProfile
import json
import logging
import os
import pstats
import sys
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

if __name__ == "__main__":  # runs from a checkout as well as with the package installed
    sys.path.insert(0, str(Path(__file__).parents[1]))

from processes import Stamp, descendants, resident

from gslrm import cli

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    from gslrm.config import Config
    from gslrm.training.trainer import Trainer
    from gslrm.types import Batch, Rendering

MEBIBYTE = 2**20
AHEAD = 10  # batches, more than the loading processes prepare ahead
OFF = 10**9  # passes between logged figures or pictures when there shall be none
PARTS = {  # functions of the loader, none of which is called by another one
    "decoding pictures": "_decode",
    "levels to [0, 1]": "_in_unit_range",
    "premultiplying colours": "premultiply",
    "placing the object": "place_object",
    "cameras": "network_camera",
    "resampling": "_resample",
    "reading the camera file": "read_sample",
    "stacking": "collate",
}


def main() -> int:
    """Parse, then measure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("memory", "logging", "loading"))
    parser.add_argument("--data", type=Path, required=True, help="a sample, a directory of samples or a list file")
    parser.add_argument("--config", type=Path, default=Path("configs/mouse_cpu.yaml"))
    parser.add_argument("--passes", type=int, help="passes of memory (2000), of each side of logging (900)")
    parser.add_argument("--every", type=int, default=200, help="passes between two looks at memory")
    parser.add_argument("--workers", type=int, default=2, help="loading processes of loading")
    cli.add_overrides(parser)
    arguments = parser.parse_args()
    logging.getLogger("gslrm").setLevel(logging.WARNING)
    {"memory": measure_memory, "logging": measure_logging, "loading": measure_loading}[arguments.what](arguments)
    cli.report(f"load average {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")
    return 0


def measure_memory(arguments: argparse.Namespace) -> None:
    """What this process and its loading processes hold, every so many passes, and how it grows."""
    passes = arguments.passes or 2000
    config = load(arguments, f"training.schedule.max_fwdbwd_passes={passes}", "training.logging.wandb.mode=offline")
    seen: list[tuple[int, float]] = []

    def look(trainer: "Trainer") -> None:
        step = trainer.position.passes
        if step % arguments.every == 0 or step == 1:
            own, others = resident(os.getpid()), sum(resident(child) for child in descendants())
            seen.append((step, own))
            cli.report(
                f"{step:8} passes{own / MEBIBYTE:10.1f} MiB here{others / MEBIBYTE:10.1f} MiB in other processes"
                f"{len(os.listdir('/proc/self/fd')):6} open files"  # noqa: PTH208
            )

    with tempfile.TemporaryDirectory() as folder:
        watched(config, Path(folder), after_pass=look).run()
    warm = [(step, size) for step, size in seen if step >= passes // 5]
    cli.report(f"slope from pass {warm[0][0]} on: {1000 * slope(warm) / MEBIBYTE:+.2f} MiB per 1000 passes")


def slope(points: list[tuple[int, float]]) -> float:
    """Of the line of least squares."""
    mean_x, mean_y = (sum(values) / len(points) for values in zip(*points, strict=True))
    spread = sum((x - mean_x) ** 2 for x, _ in points)
    return sum((x - mean_x) * (y - mean_y) for x, y in points) / spread


def measure_logging(arguments: argparse.Namespace) -> None:
    """Two runs alike but for logging, in turn: on off off on ..., each going on where it was."""
    passes = arguments.passes or 900
    length = f"training.schedule.max_fwdbwd_passes={passes}"
    quiet = [f"training.logging.{key}={OFF}" for key in ("wandb.log_every", "vis_every", "print_every")]
    modes = {
        "on": load(
            arguments, length, "training.logging.wandb.mode=offline", f"training.logging.vis_every={passes // 2}"
        ),
        "off": load(arguments, length, "training.logging.wandb.mode=disabled", *quiet),
    }
    block = passes // 6
    totals = dict.fromkeys(modes, Stamp(0.0, 0.0))
    with tempfile.TemporaryDirectory() as folder:
        runs = {name: Sides(config, Path(folder) / name) for name, config in modes.items()}
        for turn in range(6):
            for name in ("on", "off") if turn % 2 == 0 else ("off", "on"):
                spent = runs[name].go_on(block)
                totals[name] += spent
                per_pass = spent / block
                cli.report(f"{name:4}{1000 * per_pass.wall:8.1f} ms{1000 * per_pass.processor:8.1f} ms of processor")
        lines = [json.loads(line) for line in (Path(folder) / "on/metrics.jsonl").read_text().splitlines()]
    waiting = median(line["train/time_data"] / line["train/step_time"] for line in lines)
    cli.report(f"share of a pass that waits for data: {waiting:.1%} (median of the lines logged)")
    on, off = totals["on"], totals["off"]
    cli.report(f"on / off: wall {on.wall / off.wall:.4f}, processor time {on.processor / off.processor:.4f}")
    beside = {name: run.trainer.beside / passes for name, run in runs.items()}
    share = (beside["on"] - beside["off"]) * passes / off.processor
    cli.report(
        f"processor time of the training's own thread between passes: on {1000 * beside['on']:.2f} ms, off "
        f"{1000 * beside['off']:.2f} ms; the difference is {share:.2%} of a pass"
    )


class Sides:
    """A run that is timed from its first pass of a block to the end of its last, without start, save and report."""

    def __init__(self, config: "Config", folder: Path) -> None:
        self.begin = self.end = Stamp(0.0, 0.0)
        self.trainer = watched(config, folder, before_pass=self._begins, after_pass=self._ends)
        self.trainer.save = lambda *args, **kwargs: None  # type: ignore[method-assign]

    def go_on(self, passes: int) -> Stamp:
        """Take further passes, and return what they cost in all."""
        from dataclasses import replace

        self.trainer.plan = replace(self.trainer.plan, stop=self.trainer.position.passes + passes)
        self.first = True
        self.trainer.run()
        return self.end - self.begin

    def _begins(self, trainer: "Trainer") -> None:
        if self.first:
            self.begin, self.first = Stamp.now(), False

    def _ends(self, trainer: "Trainer") -> None:
        if trainer.position.passes == trainer.plan.stop:
            self.end = Stamp.now()


def measure_loading(arguments: argparse.Namespace) -> None:
    """Samples of six views: what each costs, how many come per second, how long models of various speeds wait."""
    for size, kind in ((512, "whole pictures"), (512, "crops"), (256, "crops"), (128, "crops")):
        config = load(
            arguments, f"model.image_tokenizer.image_size={size}", "training.dataset.num_target_views=null",
            f"mouse.normalize_cameras={str(kind == 'crops').lower()}", "training.dataloader.batch_size_per_gpu=1",
        )  # fmt: skip
        cli.report(f"--- {kind} of {size} px ---")
        report_parts(config)
        report_waiting(config, workers=arguments.workers)


def report_parts(config: "Config", samples: int = 30) -> None:
    """Processor time per sample in one thread, in all and by part."""
    import cv2
    import torch

    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    pass_over(config, 3)  # warm
    started = time.process_time()
    pass_over(config, samples)
    plain = (time.process_time() - started) / samples
    profile = cProfile.Profile(time.process_time)
    profile.runcall(pass_over, config, samples)
    spent = {part: cumulative(profile, function) / samples for part, function in PARTS.items()}
    cli.report(f"{'a sample':28}{1000 * plain:8.1f} ms of processor, {1 / plain:.1f} samples/s of one core")
    for part, seconds in sorted(spent.items(), key=lambda item: -item[1]):
        cli.report(f"    {part:24}{1000 * seconds:8.1f} ms (profiled)")


def pass_over(config: "Config", samples: int) -> None:
    """Load and let go."""
    for _ in batches(config, workers=0, count=samples):
        pass


def cumulative(profile: cProfile.Profile, function: str) -> float:
    """Seconds in functions of our loader with a name, and in all that they call."""
    stats = pstats.Stats(profile).stats  # type: ignore[attr-defined]
    return sum(row[3] for (file, _, name), row in stats.items() if name == function and "gslrm" in file)


def report_waiting(config: "Config", *, workers: int, passes: int = 30) -> None:
    """Passes per second, and the wait of a model that takes so long on a card, which is asleep here meanwhile."""
    for seconds in (0.0, 0.1, 0.3):
        source = batches(config, workers=workers, count=AHEAD + passes + AHEAD)  # it has more to do until the end
        for _ in range(AHEAD):  # processes start, and what they prepared ahead is used up
            next(source)
        begin, waited = Stamp.now(), 0.0
        for _ in range(passes):
            asked = time.perf_counter()
            next(source)
            waited += time.perf_counter() - asked
            time.sleep(seconds)
        spent = Stamp.now() - begin
        source.close()
        per_pass = spent / passes
        cli.report(
            f"a pass of {seconds:4.2f} s: {1 / per_pass.wall:6.1f} passes/s, waits {waited / spent.wall:6.1%} of the "
            f"time, {1000 * per_pass.processor:6.1f} ms of processor per sample in {workers} processes"
        )


def batches(config: "Config", *, workers: int, count: int) -> "Generator[Batch]":
    """The first passes' batches."""
    from gslrm.data import build_dataset, load_batches

    loader = config.training.dataloader.model_copy(update={"num_workers": workers})
    training = config.training.model_copy(update={"dataloader": loader})
    config = config.model_copy(update={"training": training})
    return load_batches(build_dataset(config), config, start=0, stop=count)


def load(arguments: argparse.Namespace, *more: str) -> "Config":
    """The configuration on the data that is asked for; validation is left out."""
    from gslrm.config_io import load_config

    data = f"training.dataset.dataset_path={arguments.data}"
    return load_config(arguments.config, [*arguments.overrides, data, "validation.enabled=false", *more])


def watched(
    config: "Config",
    folder: Path,
    *,
    before_pass: "Callable[[Trainer], None] | None" = None,
    after_pass: "Callable[[Trainer], None] | None" = None,
) -> "Trainer":
    """A trainer that calls somebody around each pass."""
    from gslrm.training.trainer import Trainer

    class Watched(Trainer):
        def train_pass(self, batch: "Batch") -> "tuple[dict[str, float], Rendering]":
            if before_pass is not None:
                before_pass(self)
            return super().train_pass(batch)

        beside = 0.0  # seconds of this thread between passes

        def after_pass(self, *args: Any, **kwargs: Any) -> None:
            started = time.thread_time()
            super().after_pass(*args, **kwargs)
            self.beside += time.thread_time() - started
            if after_pass is not None:
                after_pass(self)

    folder.mkdir(parents=True, exist_ok=True)
    return Watched(config, folder)


if __name__ == "__main__":
    cli.run(main)
