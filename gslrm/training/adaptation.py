"""Fine-tuning state of a run: what it began with, what is trained, its pull back, its average."""

import contextlib
import logging
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from gslrm.config.adapt import AdaptConfig
from gslrm.errors import UserError
from gslrm.model.adapt import choose_trainable
from gslrm.model.adapt_distance import DistancePenalty
from gslrm.model.adapt_lora import adapter_of, set_adapter
from gslrm.model.adapter import Adapter, Base, fingerprint, trainable, whole_state
from gslrm.model.spread import whole
from gslrm.model.weights import base_weights, deployed_weights, load_published, read_checkpoint_file
from gslrm.training.ema import WeightAverage

logger = logging.getLogger(__name__)


class Adaptation:
    """What `training.adapt` adds to a network that is trained.

    With LoRA, checkpoints hold only what is trained, and name the weights that it belongs to by path and fingerprint.
    """

    def __init__(
        self, model: nn.Module, config: AdaptConfig, spread: Callable[[nn.Module], object] | None = None
    ) -> None:
        """Freeze, add LoRA, then let `spread` replace the parameters by this process's part of them.

        Raises:
            UserError: a name pattern matches nothing, nothing is left to train, or peft is missing.
        """
        choose_trainable(model, config)
        if spread is not None:
            spread(model)
        self.model = model
        self.config = config
        self.base: Base | None = None
        self.loaded = False
        self.penalty: DistancePenalty | None = None
        self.distance = 0.0
        self.average = WeightAverage(trainable(model), config.ema) if config.ema.decay else None

    @property
    def keeps_base(self) -> bool:
        """Whether a run can only go on with the weights that it began with."""
        return bool(self.config.lora.rank or self.config.l2sp_weight)

    def load(self, path: Path) -> None:
        """Begin with the weights that inference would use; in a LoRA run an adapter stays one, on its own base.

        Raises:
            UserError: the file is damaged, fits another network, or its base is not there.
        """
        content = read_checkpoint_file(path)
        if "adapter" in content and self.config.lora.rank:
            self._load_adapter(content, name=str(path), averaged=True)
        elif "adapter" in content and self.keeps_base:
            raise UserError(
                f"{path}: holds an adapter, which cannot be what L2-SP pulls to; merge it first: "
                f"python scripts/export_weights.py --checkpoint {path} --output MERGED.pt"
            )
        else:
            weights = deployed_weights(content, name=str(path), base=self.config.base)
            load_published(self.model, weights, name=str(path))
            self._begin_with(path)
        self.loaded = True
        if self.average is not None:
            self.average.reset()

    def restore(self, content: Mapping[str, Any], *, path: Path, foreign: bool) -> None:
        """Go on from the content of a checkpoint, which may be another run's.

        Raises:
            UserError: it trained other parameters, or its base is not there.
        """
        self._require_same_parameters(content, name=str(path))
        if "adapter" in content:
            self._load_adapter(content, name=str(path), averaged=False)
        else:
            load_published(self.model, content["model"], name=str(path))
            self._restore_base(content, path, foreign=foreign)
        self.loaded = True
        if self.average is not None and "ema" in content:
            self.average.restore(content["ema"])
        elif self.average is not None:
            logger.info("%s holds no average of the weights: beginning one here", path)
            self.average.reset()

    def require_loaded(self) -> None:
        """Refuse to keep weights that are random.

        Raises:
            UserError: parts are frozen, adapted or pulled back although no weights were loaded.
        """
        frozen = [name for name, value in self.model.named_parameters() if not value.requires_grad]
        if (frozen or self.keeps_base) and not self.loaded:
            raise UserError(
                "training.adapt keeps loaded weights, and none were loaded: give --load PATH, or set "
                "training.checkpointing.resume_ckpt with reset_training_state: true"
            )

    def averaged(self) -> contextlib.AbstractContextManager[None]:
        """Context in which the network has the average of its weights, where one is kept."""
        return contextlib.nullcontext() if self.average is None else self.average.swapped()

    def pull(self) -> None:
        """Add the gradient of the distance penalty, where there is one, to those of an update."""
        if self.penalty is not None:
            self.distance = self.penalty.add_gradients()

    def after_update(self) -> None:
        """Follow an update that was taken."""
        if self.average is not None:
            self.average.update()

    def scalars(self) -> dict[str, float]:
        """What to log of the last update."""
        return {} if self.penalty is None else {"train/l2sp": self.distance}

    def state(self) -> dict[str, Any]:
        """Weights, average and base for a checkpoint."""
        state: dict[str, Any] = {"trained": self._trained()}
        if self.config.lora.rank:
            state["adapter"] = adapter_of(self.model, self.config.lora).to_content()
        else:
            state["model"] = self.model.state_dict()
        if self.base is not None:
            state["base"] = self.base.to_content()
        if self.average is not None:
            state["ema"] = self.average.state()
        return state

    def _trained(self) -> list[str]:
        return sorted(trainable(self.model))

    def _require_same_parameters(self, content: Mapping[str, Any], *, name: str) -> None:
        trained = content.get("trained", self._trained())  # runs before there was training.adapt name none
        differing = sorted(set(trained) ^ set(self._trained()))
        if differing:
            raise UserError(
                f"{name}: trained other parameters than training.adapt does now ({len(differing)} differ, first: "
                f"{differing[0]}), so its optimiser does not fit; take its weights only, in a new run: --load, or "
                "training.checkpointing.reset_training_state: true"
            )

    def _load_adapter(self, content: Mapping[str, Any], *, name: str, averaged: bool) -> None:
        average = content["ema"]["weights"] if averaged and "ema" in content else {}
        self.base = Base(**content["base"])
        weights = base_weights(self.base, moved_to=self.config.base, name=name)
        load_published(self.model, weights, name=f"{name}: its base")
        adapter = Adapter(content["adapter"]["tensors"] | average, content["adapter"]["scale"])
        set_adapter(self.model, adapter, self.config.lora, name=name)
        self._pull_to(weights)

    def _begin_with(self, path: Path) -> None:
        """Note the file whose weights were just loaded as what the run began with."""
        if self.keeps_base:
            fixed = path.resolve() if path.is_symlink() else path  # `latest` moves on
            weights = {name: whole(value) for name, value in whole_state(self.model).items()}
            self.base = Base(str(fixed), fingerprint(weights))
            self._pull_to(weights)

    def _restore_base(self, content: Mapping[str, Any], path: Path, *, foreign: bool) -> None:
        if not self.keeps_base:
            return
        if "base" in content:
            self.base = Base(**content["base"])
            self._pull_to(base_weights(self.base, moved_to=self.config.base, name=str(path)))
        elif foreign:
            self._begin_with(path)
        else:
            raise UserError(
                f"{path}: its run began without training.adapt.l2sp_weight, so what to pull to is not known; choose "
                "another --run-dir, and begin with --load"
            )

    def _pull_to(self, weights: Mapping[str, Tensor]) -> None:
        if self.config.l2sp_weight:
            lora = self.config.lora
            scale = lora.alpha / lora.rank if lora.rank else 1.0
            self.penalty = DistancePenalty(self.model, weight=self.config.l2sp_weight, scale=scale, start=weights)
