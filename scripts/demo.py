"""Everything once, on a CPU: make synthetic mice, train on them, score at unseen cameras, write pictures.

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
  psnr_fg          colour error on the mouse alone, in dB, higher is better
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
    checkpoint = run / "checkpoints" / "latest"

    data = ["scripts/make_synthetic_mice.py", "--output", mice, "--num-samples", arguments.samples]
    data += ["--size", 256, "--crop", 1.25]
    if not (mice / "data_mouse_val.txt").exists():
        step("1/4 synthetic mice", *data, "--val-fraction", 0.05, "--overwrite")
    paths = [
        f"training.dataset.dataset_path={mice / 'data_mouse_train.txt'}",
        f"validation.dataset_path={mice / 'data_mouse_val.txt'}",
    ]
    train = ["train_gslrm.py", "--config", "configs/mouse_demo.yaml", "--run-dir", run]
    step("2/4 training", *train, "--set", *paths, *arguments.overrides)
    evaluate = ["scripts/evaluate.py", "--checkpoint", checkpoint, "--data", mice / "data_mouse_val.txt"]
    step("3/4 scores at unseen cameras", *evaluate, "--target-views", "6-11", "--json", scores)
    first = mice / (mice / "data_mouse_val.txt").read_text().splitlines()[0]
    step("4/4 pictures", "inference.py", "--checkpoint", checkpoint, "--input", first, "--output", results)
    cli.report(closing_words(output, results / first.name, scores, time.monotonic() - started))
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


def closing_words(output: Path, sample: Path, scores: Path, seconds: float) -> str:
    """Where everything is, and what it is worth."""
    heldout = json.loads(scores.read_text())["summary"]["heldout"]
    gain = heldout["model"]["psnr_fg"] - heldout["nearest_input"]["psnr_fg"]
    return f"""
{MEANING}

At cameras it never saw the model scores {heldout["model"]["psnr_fg"]:.1f} dB on the mouse, {gain:+.1f} dB against the \
nearest given picture; silhouettes overlap by {heldout["model"]["mask_iou"]:.0%}.

Look at
  {sample / "overview.png"}      truth, rendering, error
  {sample / "turntable.mp4"}     once around
  {sample / "gaussians.ply"}     for any Gaussian-splat viewer
  {output / "run" / "pictures"}      how it learned
  {scores}
Finished after {seconds / 60:.1f} minutes."""


if __name__ == "__main__":
    cli.run(main)
