"""Everything once, on a CPU: make synthetic mice, show the shipped model on them, train a model, score both.

    make demo

Each step is a command that is shown before it runs; a step whose result is there is not repeated, so an interrupted
demo goes on where it was.
"""

import argparse
import json
import shlex
import subprocess
import sys
import time
from pathlib import Path

from gslrm import cli
from gslrm.errors import UserError

ROOT = Path(__file__).resolve().parents[1]

MEANING = """\
What the figures mean (means over the validation mice; none of them was trained on)
  input views      the six cameras given to the model
  heldout views    six cameras between them that the model never saw, on any mouse: the figure that counts
  psnr_crop        colour error in the box around the mouse, in dB, higher is better
  psnr_fg          the same on the mouse alone, which forgives a wrong outline
  mask_iou         overlap of rendered and true silhouette, 1 is perfect
  psnr             over the whole picture: a white sheet scores well on it, so it says little
  white, mean_colour, nearest_input   what a white sheet, one colour and a copy of the nearest given picture score
  visual_hull      what the given silhouettes alone say, coloured: a model should beat it\
"""


def main() -> int:
    """Run the steps, then say where the results are."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=Path("demo_output"), help="folder of all results")
    parser.add_argument("--samples", type=int, default=300, help="synthetic mice to make")
    cli.add_overrides(parser)
    arguments = parser.parse_args()
    output, started = arguments.output.resolve(), time.monotonic()
    mice, run, scores, results = output / "mice", output / "run", output / "scores.json", output / "results"
    shipped = output / "shipped"
    checkpoint = run / "checkpoints" / "latest"

    data = ["scripts/make_synthetic_mice.py", "--output", mice, "--num-samples", arguments.samples]
    data += ["--size", 256, "--crop", 1.25]
    if not (mice / "data_mouse_val.txt").exists():
        step("1/5 synthetic mice", *data, "--val-fraction", 0.05, "--overwrite")
    paths = [
        f"training.dataset.dataset_path={mice / 'data_mouse_train.txt'}",
        f"validation.dataset_path={mice / 'data_mouse_val.txt'}",
    ]
    train = ["train_gslrm.py", "--config", "configs/mouse_demo.yaml", "--run-dir", run]
    first = mice / (mice / "data_mouse_val.txt").read_text().splitlines()[0]
    show = ["inference.py", "--redo", "--input", first, "--output"]  # the network of an earlier demo may be another
    step("2/5 the shipped model on a mouse that it never saw", *show, shipped)
    step("3/5 training", *train, "--set", *paths, *arguments.overrides)
    evaluate = ["scripts/evaluate.py", "--data", mice / "data_mouse_val.txt", "--target-views", "6-11"]
    step("4/5 scores at unseen cameras", *evaluate, "--checkpoint", checkpoint, "--json", scores)
    step("4/5 scores of the shipped model", *evaluate, "--no-hull", "--json", shipped / "scores.json")
    step("5/5 pictures", *show, results, "--checkpoint", checkpoint)
    cli.report(closing_words(output, first.name, time.monotonic() - started))
    return 0


def step(title: str, *command: object) -> None:
    """Run one command of the project and show it.

    Raises:
        UserError: the command failed; it has said why.
    """
    words = [str(word) for word in command]
    cli.report(f"\n== {title}\n$ python {shlex.join(words)}")
    sys.stdout.flush()
    done = subprocess.run([sys.executable, *words], cwd=ROOT, check=False)
    if done.returncode:
        raise UserError(f"demo: {title} failed with status {done.returncode}; the same command can be given again")


def closing_words(output: Path, sample: str, seconds: float) -> str:
    """Where everything is, and what it is worth."""
    scores, shipped = output / "scores.json", output / "shipped" / "scores.json"
    here, longer = (json.loads(path.read_text())["summary"]["heldout"] for path in (scores, shipped))
    rows = {
        "nearest given picture": here["nearest_input"],
        "coloured visual hull": here["visual_hull"],
        "the model trained here": here["model"],
        "the shipped model": longer["model"],
    }
    table = "\n".join(f"  {name:30}{row['psnr_crop']:10.1f}{row['mask_iou']:10.3f}" for name, row in rows.items())
    return f"""
{MEANING}

At cameras that were not given{"psnr_crop":>12}{"mask_iou":>10}
{table}

Look at
  {output / "shipped" / sample / "overview.png"}      the shipped model: truth, rendering, error
  {output / "results" / sample / "overview.png"}      the model trained here
  {output / "results" / sample / "turntable.mp4"}     once around
  {output / "results" / sample / "gaussians.ply"}     for any Gaussian-splat viewer
  {output / "run" / "pictures"}      how it learned
  {scores}
Finished after {seconds / 60:.1f} minutes."""


if __name__ == "__main__":
    cli.run(main)
