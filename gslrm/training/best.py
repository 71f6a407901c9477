"""Which of a run's checkpoints scored best on samples that it is not trained on."""

import logging
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from gslrm.config import Config
from gslrm.errors import UserError

AUTO = "auto"
HELDOUT_CROP = "val_heldout/psnr_crop"  # sharpness where the animal is, from cameras that were not given
PREFIXES = ("val_heldout/", "val/")
HIGHER = ("psnr", "psnr_fg", "psnr_crop", "ssim", "ssim_crop", "mask_iou", "mask_precision", "mask_recall")
HIGHER_TOO = ("mask_iou_colour", "depth_within", "gaussians_f_score")
LOWER = ("lpips", "depth_error", "gaussians_floaters", "gaussians_haze", "gaussians_chamfer")
logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Best:
    """The best validation of a run so far, and the passes that its checkpoint holds."""

    metric: str
    score: float
    step: int

    def to_content(self) -> dict[str, Any]:
        """Plain values for a checkpoint."""
        return asdict(self)


class BestMetric:
    """The score that `training.checkpointing.best_metric` names, and its direction."""

    def __init__(self, config: Config, *, heldout: bool) -> None:
        """Check the name as far as that is possible before the first validation.

        Args:
            config: its `training.checkpointing` names the score, its `validation` makes it.
            heldout: whether any validated view is not input.

        Raises:
            UserError: validation does not know the score, or does not run.
        """
        options = config.training.checkpointing
        self.name: str | None = options.best_metric
        if options.best_metric == AUTO:
            self.name = HELDOUT_CROP if heldout else None
        elif not config.validation.enabled:
            raise UserError("training.checkpointing.best_metric needs validation.enabled: true; or set it to auto")
        elif _direction(options.best_metric) == 0 or (not heldout and options.best_metric.startswith(PREFIXES[0])):
            raise UserError(_refusal(options.best_metric, _all_names(heldout)))
        if not options.keep_best:
            self.name = None
        self.strict = options.best_metric != AUTO

    def better(self, scores: Mapping[str, float], known: Best | None, *, step: int) -> Best | None:
        """The new best where a validation's scores beat the one known; none where they do not.

        Raises:
            UserError: validation did not give the score that the configuration names.
        """
        if self.name is None:
            return None
        if self.name not in scores:
            if self.strict:
                raise UserError(_refusal(self.name, [name for name in scores if _direction(name)]))
            logger.warning("validation gave no %s, so this checkpoint cannot become the best", self.name)
            return None
        score, sign = scores[self.name], _direction(self.name)
        rival = known.score if known is not None and known.metric == self.name else -sign * math.inf
        return Best(self.name, score, step) if sign * score > sign * rival else None


def _direction(name: str) -> int:
    """1 where higher is better, -1 where lower is, 0 for a name that is no score of the model."""
    score = next((name.removeprefix(prefix) for prefix in PREFIXES if name.startswith(prefix)), "")
    return (score in HIGHER or score in HIGHER_TOO) - (score in LOWER)


def _all_names(heldout: bool) -> list[str]:
    scores = [*HIGHER, *HIGHER_TOO, *LOWER]
    names = [f"{prefix}{name}" for prefix in PREFIXES for name in scores if not name.startswith("gaussians")]
    names += [f"val/{name}" for name in scores if name.startswith("gaussians")]
    return [name for name in names if heldout or not name.startswith(PREFIXES[0])]


def _refusal(name: str, valid: list[str]) -> str:
    return (
        f"training.checkpointing.best_metric: validation gives no {name} here; choose auto or one of {', '.join(valid)}"
    )
