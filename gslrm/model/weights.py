"""Published checkpoints to our models, with a report and no silent gaps.

Our GS-LRM and LGM have the originals' parameter names, so nothing is renamed; what else a published checkpoint holds
(frozen VGG weights of a perceptual loss) is named in the report. The weights of a file are those that inference uses:
averaged where the run kept an average, with its adapter merged where it learned one.
"""

import logging
import pickle
import struct
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from gslrm.errors import UserError
from gslrm.model.adapter import Adapter, Base, fingerprint, whole_state
from gslrm.model.exchange import is_exchange, read_exchange
from gslrm.model.sharded import read_sharded
from gslrm.model.spread import assign

IGNORED_PREFIXES = ("loss_calculator.", "lpips_loss.")  # losses that were saved with a network: FaceLift's, LGM's
CONTAINERS = ("model", "state_dict")
DAMAGE = (  # what reading arbitrary bytes can end in
    *(RuntimeError, ValueError, LookupError, EOFError, AttributeError, TypeError),
    *(zipfile.BadZipFile, zlib.error, struct.error, pickle.UnpicklingError),
)
ZIP_FOLDER = 0x10  # a part with this attribute is not read at all, and torch takes what lies in memory for its content
logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class LoadReport:
    """What `load_published` did, in the checkpoint's key names."""

    loaded: tuple[str, ...]
    missing: tuple[str, ...]
    unexpected: tuple[str, ...]
    ignored: tuple[str, ...]
    share: float
    """Parameters of the model that were loaded, of all its parameters."""

    def __str__(self) -> str:
        return (
            f"loaded {len(self.loaded)} tensors ({self.share:.1%} of the model's parameters), "
            f"{len(self.missing)} missing, {len(self.unexpected)} unexpected, {len(self.ignored)} ignored"
        )


def load_published(
    model: nn.Module,
    source: Mapping[str, Tensor] | str | Path,
    allow_partial: bool = False,
    *,
    name: str = "state dict",
) -> LoadReport:
    """Load weights under their published names.

    Args:
        model: from `build_model`.
        source: a state dict, or a checkpoint file of FaceLift's, LGM's or ours (read with weights_only).
        allow_partial: take what fits instead of refusing anything less than the whole core.
        name: what messages call a state dict; a file is called by its path.

    Returns:
        The report, which is also logged.

    Raises:
        UserError: the file cannot be read, or tensors are missing, of another shape or unknown to the model.
    """
    if isinstance(source, str | Path):
        name, source = str(source), read_state_dict(Path(source))
    weights = dict(source)
    own = whole_state(model)
    ignored = tuple(key for key in weights if key.startswith(IGNORED_PREFIXES))
    misfits = {
        key: f"{key} is {tuple(weights[key].shape)}, the model wants {tuple(own[key].shape)}"
        for key in own
        if key in weights and weights[key].shape != own[key].shape
    }
    fitting = {key: weights[key] for key in own if key in weights and key not in misfits}
    missing = tuple(key for key in own if key not in weights)
    unexpected = tuple(key for key in weights if key not in own and key not in ignored)
    share = sum(own[key].numel() for key in fitting) / sum(value.numel() for value in own.values())
    report = LoadReport(tuple(fitting), missing, unexpected, ignored, share)
    if not allow_partial and (missing or misfits or unexpected):
        raise UserError(_refusal(name, report, list(misfits.values())))
    _require_finite(name, fitting)
    for key, value in fitting.items():
        assign(own[key], value)
    logger.info("%s: %s", name, report)
    return report


def read_state_dict(path: Path) -> dict[str, Tensor]:
    """The state dict in a checkpoint file.

    Raises:
        UserError: missing, damaged, or holding more than tensors and plain values.
    """
    return deployed_weights(read_checkpoint_file(path), name=str(path))


def deployed_weights(
    content: Mapping[str, Any], *, name: str, base: str | None = None, averaged: bool = True
) -> dict[str, Tensor]:
    """The weights in a checkpoint's content that inference uses.

    Args:
        content: from `read_checkpoint_file`.
        name: begins messages.
        base: where the weights are that an adapter belongs to, when they have moved.
        averaged: take the running average where there is one.

    Raises:
        UserError: it holds no state dict, or the weights that its adapter belongs to are not there.
    """
    average = content["ema"]["weights"] if averaged and "ema" in content else {}
    if "adapter" in content:
        adapter = Adapter(content["adapter"]["tensors"] | average, content["adapter"]["scale"])
        return adapter.merge(base_weights(Base(**content["base"]), moved_to=base, name=name))
    weights = next((content[key] for key in CONTAINERS if isinstance(content.get(key), dict)), content)
    if not weights or not all(isinstance(value, Tensor) for value in weights.values()):
        raise UserError(f"{name}: holds no state dict; expected tensors by name, alone or under 'model'")
    return {key.removeprefix("module."): value for key, value in weights.items()} | average


def base_weights(base: Base, *, moved_to: str | None, name: str) -> dict[str, Tensor]:
    """The weights that the run of a checkpoint `name` began with, float32.

    Raises:
        UserError: they are not where they were, or the file holds others now.
    """
    path, cure = Path(moved_to or base.path), "name the right file: --set training.adapt.base=PATH"
    if not path.is_file():
        raise UserError(f"{name}: belongs to the weights in {path}, which is not there; put it back, or {cure}")
    weights = read_state_dict(path)
    core = {key: value.float() for key, value in weights.items() if not key.startswith(IGNORED_PREFIXES)}
    found = fingerprint(core)
    if found != base.fingerprint:
        raise UserError(
            f"{name}: belongs to weights with the fingerprint {base.fingerprint[:12]}, and {path} holds {found[:12]}; "
            f"{cure}"
        )
    return core


def read_checkpoint_file(path: Path) -> dict[str, Any]:
    """A checkpoint's content on the CPU, a file's or a folder's, read with weights_only so that it cannot run code.

    A safetensors file holds weights alone, under `model`, and maybe `config`.

    Raises:
        UserError: missing, damaged, or not a dictionary of tensors and plain values.
    """
    if path.is_dir():
        return read_sharded(path)
    try:
        if is_exchange(path):
            return read_exchange(path)
        _require_intact(path)
        content = torch.load(path, map_location="cpu", weights_only=True)
    except OSError as error:
        raise UserError(f"{path}: checkpoint is missing or unreadable ({error.strerror or error})") from error
    except DAMAGE as error:
        first_line = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise UserError(f"{path}: not a readable checkpoint ({first_line[:200]}); copy it again") from error
    if not isinstance(content, dict):
        raise UserError(f"{path}: holds a {type(content).__name__}, not a checkpoint")
    return content


def _require_intact(path: Path) -> None:
    """Compare the checksums of a file's parts, which torch writes but never reads: 0.2 s per GB."""
    if not zipfile.is_zipfile(path):
        return  # the format before torch 1.6 has none
    with zipfile.ZipFile(path) as archive:
        folders = [part.filename for part in archive.infolist() if part.external_attr & ZIP_FOLDER]
        damaged = archive.testzip() or next(iter(folders), None)
    if damaged is not None:
        raise zipfile.BadZipFile(f"the checksum of {damaged} is wrong")


def _refusal(name: str, report: LoadReport, misfits: list[str]) -> str:
    parts = misfits[:3] + ([f"... and {len(misfits) - 3} more of another shape"] if len(misfits) > 3 else [])
    for kind, keys in (("missing", report.missing), ("unknown to the model", report.unexpected)):
        if keys:
            parts.append(f"{len(keys)} {kind} (first: {keys[0]})")
    return (
        f"{name}: only {report.share:.1%} of the model's parameters fit: {'; '.join(parts)}. "
        "Use the configuration the checkpoint was trained with, or allow a partial load"
    )


def _require_finite(name: str, weights: Mapping[str, Tensor]) -> None:
    bad = [key for key, value in weights.items() if not value.isfinite().all()]
    if bad:
        raise UserError(f"{name}: {len(bad)} tensors hold NaN or infinity (first: {bad[0]}); use another checkpoint")
