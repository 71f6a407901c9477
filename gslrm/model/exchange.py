"""Weights as safetensors files, which hold tensors alone, and the configuration in their metadata."""

import json
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from gslrm.errors import UserError

SUFFIX = ".safetensors"
CONFIG = "config"  # key of the metadata: the configuration as JSON; files of others have none
LENGTH = 8  # bytes of the header's length, which come first


def write_exchange(content: Mapping[str, Any], path: Path) -> None:
    """Write the weights `model` of a content with its `config`, so that the file depends on no other.

    Raises:
        UserError: it holds no whole weights, but an adapter.
    """
    from safetensors.torch import save_file

    if "model" not in content:
        raise UserError(f"{path}: a {SUFFIX} file holds whole weights; leave --adapter-only away, or write a .pt file")
    weights = {name: value.contiguous().clone() for name, value in content["model"].items()}
    save_file(weights, path, metadata={CONFIG: json.dumps(content["config"])})


def is_exchange(path: Path) -> bool:
    """Whether a file is called so, or begins as safetensors files do: the length of a JSON object, then that object."""
    if path.suffix == SUFFIX:
        return True
    with path.open("rb") as file:
        start = file.read(LENGTH + 1)
    return len(start) > LENGTH and start[LENGTH:] == b"{" and _length(start) < path.stat().st_size


def read_exchange(path: Path) -> dict[str, Any]:
    """The weights of a file under `model`, with its `config` if it carries one.

    Raises:
        UserError: damaged, or its configuration is no JSON object.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as file:
            weights: dict[str, Tensor] = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            text = (file.metadata() or {}).get(CONFIG)
        config = None if text is None else json.loads(text)
    except (SafetensorError, ValueError) as error:
        raise UserError(f"{path}: not a readable {SUFFIX} file ({str(error)[:200]}); copy it again") from error
    if text is not None and not isinstance(config, dict):
        raise UserError(f"{path}: the configuration in its metadata is no JSON object; export it again")
    return {"model": weights} | ({} if config is None else {CONFIG: config})


def _length(start: bytes) -> int:
    return int(struct.unpack("<Q", start[:LENGTH])[0])
