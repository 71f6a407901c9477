"""Checkpoints of training to files that hold weights alone."""

from pathlib import Path
from typing import Any

from gslrm.config import Config
from gslrm.config.adapt import AdaptConfig
from gslrm.config_io import config_from_mapping
from gslrm.errors import UserError
from gslrm.model.weights import deployed_weights, read_checkpoint_file


def plain_weights(path: Path, overrides: tuple[str, ...] = ()) -> dict[str, Any]:
    """The weights that inference uses, under published names, with a configuration that adapts nothing.

    Raises:
        UserError: the file is damaged or carries no configuration, or adapts weights that are not there.
    """
    content, config = _read(path, overrides)
    adapt = config.training.adapt
    weights = deployed_weights(content, name=str(path), base=adapt.base, averaged=adapt.ema.decay > 0)
    training = config.training.model_copy(update={"adapt": AdaptConfig()})
    return {"model": weights, "config": config.model_copy(update={"training": training}).model_dump(mode="json")}


def adapter_alone(path: Path, overrides: tuple[str, ...] = ()) -> dict[str, Any]:
    """What LoRA has learned, with the path and fingerprint of the weights it belongs to.

    Raises:
        UserError: the file is damaged, carries no configuration, or holds no adapter.
    """
    content, config = _read(path, overrides)
    if "adapter" not in content:
        raise UserError(f"{path}: holds no adapter, only training with training.adapt.lora writes one")
    adapt = config.training.adapt
    average = content["ema"]["weights"] if adapt.ema.decay and "ema" in content else {}
    adapter = content["adapter"] | {"tensors": content["adapter"]["tensors"] | average}
    base = content["base"] | {"path": adapt.base or content["base"]["path"]}
    return {"adapter": adapter, "base": base, "config": config.model_dump(mode="json")}


def _read(path: Path, overrides: tuple[str, ...]) -> tuple[dict[str, Any], Config]:
    content = read_checkpoint_file(path)
    if not isinstance(content.get("config"), dict):
        raise UserError(f"{path}: carries no configuration; only checkpoints of train_gslrm.py can be exported")
    return content, config_from_mapping(content["config"], source=str(path), overrides=overrides)
