"""Whether a run learns its input pictures instead of the object: they get better while held-out cameras get worse."""

import json
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

INPUT, HELDOUT = "val/psnr_crop", "val_heldout/psnr_crop"
MIN_CHANGE = 0.05  # dB over the whole stretch; validations on a few samples scatter by less
PATIENCE = 2  # validations in a row


class Validated(NamedTuple):
    """PSNR in the object's box in dB of one validation, at input views and at held-out cameras."""

    given: float
    heldout: float


def is_memorising(history: Sequence[Validated]) -> bool:
    """Whether input-view PSNR rose while held-out PSNR fell in each of the last `PATIENCE` validations."""
    recent = history[-PATIENCE - 1 :]
    if len(recent) <= PATIENCE:
        return False
    steps = list(pairwise(recent))
    apart = all(after.given > before.given and after.heldout < before.heldout for before, after in steps)
    first, last = recent[0], recent[-1]
    return apart and last.given - first.given >= MIN_CHANGE and first.heldout - last.heldout >= MIN_CHANGE


def read_history(metrics: Path) -> list[Validated]:
    """The validations that a run has logged so far in metrics.jsonl; a resumed run goes on from them."""
    if not metrics.is_file():
        return []
    history = []
    for line in metrics.read_text(encoding="utf-8").splitlines():
        try:
            entry = json.loads(line)
        except ValueError:  # a kill can cut the last line short
            continue
        pair = entry.get(INPUT), entry.get(HELDOUT)
        if all(isinstance(value, float) for value in pair):
            history.append(Validated(*pair))
    return history
