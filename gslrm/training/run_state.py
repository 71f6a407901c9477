"""The state of a run as a checkpoint holds it."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from gslrm.config import OptimizerConfig
from gslrm.training.adaptation import Adaptation
from gslrm.training.guard import GuardedUpdate
from gslrm.training.optim import restore_optimizer
from gslrm.training.plan import Position
from gslrm.training.runtime import random_state, restore_random_state, seed_process
from gslrm.training.sharding import Spread
from gslrm.training.skips import Skips


@dataclass(frozen=True)
class Boundary:
    """What a run must repeat from: the last whole update, and the random state just after it.

    Passes since then have only added to gradients, so a state with this boundary is whole at any moment.
    """

    position: Position
    random_state: dict[str, Any]
    schedule_start: int
    """Updates that were taken before the present schedule began."""

    @staticmethod
    def here(position: Position, schedule_start: int = 0) -> "Boundary":
        """The boundary of a run that stands just after an update."""
        return Boundary(position, random_state(), schedule_start)


@dataclass(frozen=True)
class RunState:
    """The parts of a run whose state a checkpoint holds."""

    adaptation: Adaptation
    update: GuardedUpdate
    spread: Spread

    @property
    def optimizer(self) -> torch.optim.Optimizer:
        """The optimiser whose moments are kept."""
        return self.update.optimizer

    def capture(self, boundary: Boundary, **more: Any) -> dict[str, Any]:
        """Everything that a run needs to go on from a boundary as if it had not stopped; `more` are plain values.

        All processes call this. Tensors of which each holds a part stay so.
        """
        random_states = self.spread.processes.gather(boundary.random_state)
        if len(random_states) > 1:
            more["random_states"] = random_states
        return {
            **self.adaptation.state(),
            "optimizer": self.optimizer.state_dict(),
            "scaler": self.update.scaler.state_dict(),
            "fwdbwd_pass_step": boundary.position.passes,
            "param_update_step": boundary.position.updates,
            "skips": boundary.position.skips.to_content(),
            "schedule_start": boundary.schedule_start,
            "random_state": random_states[0],
            **more,
        }

    def restore(self, content: dict[str, Any], *, path: Path, foreign: bool = False) -> Boundary:
        """Go on from a checkpoint's content.

        Raises:
            UserError: it holds another network, or trained other parameters.
        """
        self.adaptation.restore(content, path=path, foreign=foreign)
        restore_optimizer(self.optimizer, self.spread.optimizer_state(self.optimizer, content["optimizer"]))
        self.update.scaler.load_state_dict(content["scaler"])
        position = Position(
            passes=content["fwdbwd_pass_step"],
            updates=content["param_update_step"],
            skips=Skips(**content.get("skips", {})),  # older checkpoints do not tell them by reason
        )
        self._restore_random_state(content, position)
        return Boundary(position, random_state(), content["schedule_start"])

    def _restore_random_state(self, content: dict[str, Any], position: Position) -> None:
        """This process's own state, or one that follows from the seed where the number of processes changed."""
        processes = self.spread.processes
        states = content.get("random_states", [content["random_state"]])
        if len(states) == processes.count:
            restore_random_state(states[processes.rank])
        else:
            seed_process(self.spread.seed, rank=processes.rank, passes=position.passes)

    def reset_weight_decay(self, config: OptimizerConfig) -> None:
        """Take the configured decay instead of the checkpoint's."""
        for group in self.optimizer.param_groups:
            group["weight_decay"] = config.weight_decay if group["decays"] else 0.0
