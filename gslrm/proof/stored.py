"""Samples that are already on disk, read and proven."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from gslrm.data.images import read_image
from gslrm.data.masks import MaskPolicy, read_view
from gslrm.data.sample import read_sample
from gslrm.errors import UserError
from gslrm.proof.limits import Limits
from gslrm.proof.prove import Proof, prove
from gslrm.proof.thumbnail import thumbnail


@dataclass(frozen=True)
class Checked:
    """A sample's record (`Proof.record`) and its picture; none for a sample that cannot be read."""

    record: dict[str, Any]
    picture: bytes | None


def check_sample(directory: Path, name: str, policy: MaskPolicy, limits: Limits) -> Checked:
    """Prove one sample; one that cannot be read fails with the reason why."""
    try:
        proof, images = prove_stored(directory, policy, limits)
    except UserError as error:
        return Checked(unreadable(name, str(error)), None)
    return Checked(proof.record(name), thumbnail(proof, images))


def prove_stored(directory: Path, policy: MaskPolicy, limits: Limits) -> tuple[Proof, list[np.ndarray]]:
    """Read a sample in FaceLift's layout and prove it; also its pictures as stored, float32 [H, W, 3].

    Raises:
        UserError: a file is missing or damaged, or no mask can be had.
    """
    sample = read_sample(directory)
    coverages = [read_view(view, policy)[..., 3] for view in sample.views]
    images = [read_image(view.image_path)[..., :3] for view in sample.views]
    names = _unique([view.name for view in sample.views])
    return prove(names, images, coverages, [view.camera for view in sample.views], limits=limits), images


def unreadable(name: str, reason: str) -> dict[str, Any]:
    """The record of a sample of which nothing could be measured."""
    nothing: dict[str, Any] = dict.fromkeys(("time", "cause", "diagnosis", "tangent", "hull", "width"))
    lists: dict[str, Any] = {key: [] for key in ("warnings", "suspects", "views", "planes", "focal")}
    return nothing | lists | {
        "sample": name, "passed": False, "severity": 0.0, "reasons": [reason], "disagrees": False
    }  # fmt: skip


def _unique(names: list[str]) -> list[str]:
    """Names that tell views apart: those that occur twice get their view's number."""
    return [name if names.count(name) == 1 else f"{name} ({index})" for index, name in enumerate(names)]
