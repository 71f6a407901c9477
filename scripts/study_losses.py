"""Train one small model once per set of loss terms, and show what each set learns from mice on white paper.

    python scripts/study_losses.py --output study
    python scripts/study_losses.py --output study --only hull-ssim-0.1 --passes 50      # one short run

Every run is a command of its own; one that has ended is not repeated. Results are results.json, results.md and one
picture per group of runs; docs/losses.md shows what came out.
"""

import argparse
import shlex
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from gslrm import cli
from gslrm.errors import UserError

if TYPE_CHECKING:
    from torch import Tensor

    from gslrm.data.sample import Sample
    from gslrm.model.comparison import Comparison
    from gslrm.reconstruct import Reconstructor
    from gslrm.types import Rendering, Views

ROOT = Path(__file__).resolve().parents[1]
HELD_OUT = tuple(range(6, 12))  # cameras between the rig's six
SHOWN = 3  # held-out views of the first mouse in the pictures
COLUMNS = ("psnr", "psnr_fg", "psnr_crop", "mask_iou", "alpha_inside", "alpha_outside", "darkness")


@dataclass(frozen=True)
class Run:
    """One training: a name, a base configuration and its `training.losses`."""

    name: str
    title: str
    config: str
    losses: tuple[str, ...]

    @property
    def group(self) -> str:
        """Runs that are compared with one another."""
        return self.name.partition("-")[0]


def runs() -> list[Run]:
    """All runs: from plain L2 to all terms on much paper, then weights and masks of SSIM on two models."""
    paper, hull = "configs/study_losses_cpu.yaml", "configs/demo_cpu.yaml"
    masked = ("masked_l2_loss=true",)
    both = (*masked, "background_loss_weight=1.0")
    alpha = (*both, "alpha_loss_weight=1.0")
    users = (*masked, "background_loss_weight=0.1")
    made = [
        Run("paper-l2", "L2", paper, ()),
        Run("paper-masked", "masked L2", paper, masked),
        Run("paper-background", "masked L2 + background", paper, both),
        Run("paper-alpha", "masked L2 + background + alpha", paper, alpha),
        Run("paper-all", "the same + 0.1 SSIM", paper, (*alpha, "ssim_loss_weight=0.1")),
        Run("paper-late", "... from half-way on", paper, (*alpha, "ssim_loss_weight=0.1", "starts.ssim_loss=200")),
    ]
    for weight in ("0.0", "0.1", "0.3", "0.5", "1.0"):
        ssim = f"ssim_loss_weight={weight}"
        neutral = () if weight == "0.0" else ("masked_ssim_loss=true",)
        made.append(Run(f"users-ssim-{weight}", f"masked SSIM {weight}", paper, (*users, ssim, *neutral)))
    for weight in ("0.0", "0.1", "0.3", "0.5", "1.0"):
        made.append(Run(f"hull-ssim-{weight}", f"SSIM {weight}", hull, (*alpha, f"ssim_loss_weight={weight}")))
    for mask in ("neutral", "windows"):
        chosen = ("ssim_loss_weight=0.3", "masked_ssim_loss=true", f"ssim_mask={mask}")
        made.append(Run(f"hull-{mask}-0.3", f"SSIM 0.3, {mask}", hull, (*alpha, *chosen)))
    return made


def main() -> int:
    """Make mice, train what is missing, score what is there."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=Path("study_losses"), help="folder of everything")
    parser.add_argument("--only", metavar="NAME", help="train this run alone, and score nothing")
    parser.add_argument("--passes", type=int, default=400, help="passes of each run (default 400)")
    parser.add_argument("--samples", type=int, default=64, help="synthetic mice, an eighth of them to score on")
    arguments = parser.parse_args()
    output, known = arguments.output.resolve(), {run.name: run for run in runs()}
    if arguments.only and arguments.only not in known:
        raise UserError(f"--only {arguments.only}: the runs are {', '.join(known)}")
    chosen = [known[arguments.only]] if arguments.only else list(known.values())

    mice = output / "mice"
    if not (mice / "data_mouse_val.txt").exists():
        size = ("--num-samples", arguments.samples, "--size", 160, "--val-fraction", 0.125, "--seed", 5)
        command("scripts/make_synthetic_mice.py", "--output", mice, *size, "--overwrite")
    for run in chosen:
        train(run, output, passes=arguments.passes)
    if not arguments.only:
        write_results(chosen, output)
    return 0


def train(run: Run, output: Path, *, passes: int) -> None:
    """Train a run unless it has ended."""
    folder = output / run.name
    if (folder / "seconds").exists():
        return
    started = time.monotonic()
    changes = overrides(run, output / "mice" / "data_mouse_train.txt", passes=passes)
    command("train_gslrm.py", "--config", run.config, "--run-dir", folder, "--set", *changes)
    (folder / "seconds").write_text(f"{time.monotonic() - started:.0f}\n")


def overrides(run: Run, data: Path, *, passes: int) -> list[str]:
    """What a run changes in its base configuration."""
    return [
        f"training.dataset.dataset_path={data}",
        f"training.schedule.max_fwdbwd_passes={passes}",
        "training.schedule.warmup=50",
        "training.logging.wandb.mode=disabled",
        "validation.enabled=false",
        *(["model.image_tokenizer.image_size=96"] if run.group == "hull" else []),
        *(f"training.losses.{setting}" for setting in run.losses),
    ]


def command(*words: object) -> None:
    """Run one command of the project and show it.

    Raises:
        UserError: the command failed; it has said why.
    """
    line = [str(word) for word in words]
    cli.report(f"$ python {shlex.join(line)}")
    sys.stdout.flush()
    done = subprocess.run([sys.executable, *line], cwd=ROOT, check=False)
    if done.returncode:
        raise UserError(f"study: {line[0]} failed with status {done.returncode}; the same command can be given again")


def write_results(chosen: list[Run], output: Path) -> None:
    """Score all runs, then write figures, table and pictures."""
    from gslrm.export import write_json, write_picture
    from gslrm.visualize.sheet import Column, sheet

    results, pictures = [], {}
    for run in cli.track(chosen, "scoring"):
        scores, truth, drawn = judge(output / run.name, output / "mice" / "data_mouse_val.txt")
        seconds = int((output / run.name / "seconds").read_text())
        results.append(asdict(run) | {"group": run.group, "seconds": seconds, "scores": scores})
        pictures.setdefault(run.group, {"truth": truth})[run.title] = drawn
    write_json(output / "results.json", {"held_out_views": HELD_OUT, "runs": results})
    values = value_table(output / chosen[0].name, output / "mice" / "data_mouse_val.txt")
    (output / "results.md").write_text("\n".join([*values, *table(results)]) + "\n")
    columns = [Column(f"{what}, view {view}") for what in ("colour", "alpha") for view in HELD_OUT[:SHOWN]]
    for group, rows in pictures.items():
        write_picture(output / f"{group}.png", sheet(rows, columns))
    cli.report("\n".join([*values, *table(results)]))


def judge(folder: Path, data: Path) -> tuple[dict[str, float], "Tensor", "Tensor"]:
    """Mean scores over held-out views of all mice at the network's own crops, and rows of cells of the first mouse."""
    from gslrm.data.lists import find_samples
    from gslrm.data.sample import read_sample
    from gslrm.metrics import average
    from gslrm.reconstruct import Reconstructor

    reconstructor = Reconstructor.from_checkpoint(folder / "checkpoints" / "latest")
    pairs = [held_out(reconstructor, read_sample(directory)) for directory in find_samples(data)]
    scores = average([view for pair in pairs for view in score_views(*pair)])
    truth, drawn = pairs[0]
    return scores, cells(truth.images, truth.masks), cells(drawn.rgb, drawn.alpha)


def held_out(reconstructor: "Reconstructor", sample: "Sample") -> tuple["Views", "Rendering"]:
    """Truth and rendering [views] at the cameras between the rig's."""
    import torch

    from gslrm.data.placed_sample import load_targets, mask_policy
    from gslrm.reconstruct import WHITE, choose_inputs

    placed = reconstructor.place(sample, choose_inputs(reconstructor.config, sample))
    policy = mask_policy(reconstructor.dataset, reconstructor.config.mouse)
    truth = load_targets(placed, HELD_OUT, policy, WHITE)
    device = reconstructor.runtime.device
    gaussians = reconstructor.reconstruct(placed).gaussians[None]
    with torch.inference_mode():
        rendering = reconstructor.rasterizer(gaussians, truth.cameras[None].to(device), WHITE[None].to(device))
    return truth, rendering[0].to("cpu")


def score_views(truth: "Views", rendering: "Rendering") -> Iterator[dict[str, float]]:
    """Scores of each view.

    `alpha_inside` is the mean alpha on the mouse; `alpha_outside` the alpha summed over the paper, in areas of the
    mouse: what floats there; `darkness` the mean of 1 - colour on the mouse, of the truth's: 0 is white.
    """
    from gslrm.metrics import has_foreground, mask_iou, psnr, psnr_crop, psnr_foreground

    for view in has_foreground(truth.masks).nonzero()[:, 0].tolist():
        rgb, alpha, image, mask = (x[view] for x in (rendering.rgb, rendering.alpha, truth.images, truth.masks))
        inside = (mask > 0.5).to(alpha.dtype)
        area = inside.sum()
        scores = {
            "psnr": psnr(rgb, image),
            "psnr_fg": psnr_foreground(rgb, image, mask),
            "psnr_crop": psnr_crop(rgb, image, mask),
            "mask_iou": mask_iou(alpha, mask),
            "alpha_inside": (alpha * inside).sum() / area,
            "alpha_outside": (alpha * (mask < 1 / 255)).sum() / area,
            "darkness": ((1 - rgb) * inside).sum() / ((1 - image) * inside).sum(),
            "coverage": inside.mean(),
        }
        yield {name: float(value) for name, value in scores.items()}


def table(results: list[dict]) -> list[str]:
    """Markdown lines, one table per group."""
    lines = []
    for group in dict.fromkeys(result["group"] for result in results):
        of_group = [result for result in results if result["group"] == group]
        coverage = of_group[0]["scores"]["coverage"]
        lines += [f"{group}: mice cover {coverage:.1%} of a view", "", f"| losses | {' | '.join(COLUMNS)} | s |"]
        lines += ["|---" * (len(COLUMNS) + 2) + "|"]
        for result in of_group:
            figures = [f"{result['scores'][name]:.2f}" for name in COLUMNS]
            lines.append(f"| {result['title']} | {' | '.join(figures)} | {result['seconds']} |")
        lines.append("")
    return lines


def value_table(folder: Path, data: Path) -> list[str]:
    """Markdown lines: what each term says of pictures that are wrong in one way, before any training.

    White sheet: nothing is drawn. Fog: white Gaussians everywhere. Flood: the mouse's mean colour everywhere. Shifted:
    the truth, moved by one pixel to the right.
    """
    from gslrm.data.lists import find_samples
    from gslrm.data.sample import read_sample
    from gslrm.model import loss_pictures, loss_ssim
    from gslrm.reconstruct import Reconstructor

    reconstructor = Reconstructor.from_checkpoint(folder / "checkpoints" / "latest")
    truths = [held_out(reconstructor, read_sample(directory))[0] for directory in find_samples(data)]
    pictures = (loss_pictures.l2, loss_pictures.masked_l2, loss_pictures.background)
    silhouettes = (loss_pictures.silhouette, loss_pictures.silhouette_iou)
    terms = (*pictures, *silhouettes, loss_ssim.ssim, loss_ssim.masked_ssim, loss_ssim.foreground_ssim)
    lines = ["| term | white sheet | white fog | brown flood | shifted |", "|---|---|---|---|---|"]
    columns = [[wrong(truth, kind) for truth in truths] for kind in range(4)]
    for term in terms:
        values = [sum(float(term(comparison)) for comparison in column) / len(column) for column in columns]
        lines.append(f"| {term.__name__} | {' | '.join(f'{value:.4f}' for value in values)} |")
    return [*lines, ""]


def wrong(truth: "Views", kind: int) -> "Comparison":
    """The truth beside a picture that is wrong in one of the four ways of `value_table`."""
    import torch

    from gslrm.model.comparison import compare
    from gslrm.types import Batch, Gaussians, Rendering

    images, masks = truth.images, truth.masks
    colour = (images * masks).sum(dim=(2, 3), keepdim=True) / masks.sum(dim=(2, 3), keepdim=True)
    rgb, alpha = (
        (torch.ones_like(images), torch.zeros_like(masks)),
        (torch.ones_like(images), torch.ones_like(masks)),
        (colour.expand_as(images), torch.ones_like(masks)),
        (images.roll(1, dims=-1), masks.roll(1, dims=-1)),
    )[kind]
    none = torch.zeros(1, 0, 3)
    gaussians = Gaussians(none, none, torch.zeros(1, 0, 4), torch.zeros(1, 0), torch.zeros(1, 0, 1, 3))
    index = torch.tensor([HELD_OUT])
    batch = Batch(truth[None], truth[None], index, index, torch.ones(1, 3), ("truth",))
    return compare(gaussians, Rendering(rgb, alpha, torch.zeros_like(alpha))[None], batch)


def cells(colours: "Tensor", alphas: "Tensor") -> "Tensor":
    """[2 n, 3, h, w] of the first views: colours, then alphas."""
    import torch

    from gslrm.visualize.sheet import fit

    return fit(torch.cat([colours[:SHOWN], alphas[:SHOWN].expand(-1, 3, -1, -1)]))


if __name__ == "__main__":
    cli.run(main)
