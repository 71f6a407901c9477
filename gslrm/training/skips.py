"""Updates that were not taken: why, how often, and when that ends a run."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

from gslrm.config import RuntimeConfig

Reason = Literal["loss", "gradient", "norm", "overflow"]
REASONS: tuple[Reason, ...] = get_args(Reason)
MAX_NAMES = 12  # samples that a message names


@dataclass(frozen=True)
class UpdateReport:
    """What became of one update."""

    gradient_norm: float
    """Before clipping; nan where there was no gradient."""
    scale: float = 1.0
    """What the losses of its passes were multiplied with."""
    skipped: Reason | None = None

    @property
    def taken(self) -> bool:
        """Whether the weights moved."""
        return self.skipped is None


@dataclass(frozen=True)
class Skips:
    """Updates of a run that were skipped: in a row, those of them that bring its end nearer, and in all by reason.

    An `overflow` is how float16 finds its loss scale, so it brings no end nearer, and does not put it off either.
    """

    in_row: int = 0
    strikes: int = 0
    by_reason: Mapping[str, int] = field(default_factory=dict)

    @property
    def total(self) -> int:
        """All of them."""
        return sum(self.by_reason.values())

    def after(self, report: UpdateReport) -> "Skips":
        """The counts when one more update was taken or skipped."""
        if report.skipped is None:
            return Skips(by_reason=self.by_reason)
        counted = {**self.by_reason, report.skipped: self.by_reason.get(report.skipped, 0) + 1}
        return Skips(self.in_row + 1, self.strikes + (report.skipped != "overflow"), counted)

    def figures(self) -> dict[str, float]:
        """What to log after an update."""
        counts = {"updates": self.in_row, "total": self.total}
        counts |= {reason: self.by_reason.get(reason, 0) for reason in REASONS}
        return {f"train/skipped_{name}": float(count) for name, count in counts.items()}

    def to_content(self) -> dict[str, Any]:
        """Plain values for a checkpoint."""
        return {"in_row": self.in_row, "strikes": self.strikes, "by_reason": dict(self.by_reason)}


def describe(report: UpdateReport, samples: Sequence[str]) -> str:
    """Why an update was skipped, in half a sentence."""
    scale = "" if report.scale == 1 else f", loss scale {report.scale:g}"
    return (
        f"{_WHY[report.skipped or 'loss']} (gradient norm {report.gradient_norm:.3g}{scale}, samples {_few(samples)})"
    )


def diagnose(skips: Skips, last: Sequence[UpdateReport], samples: Sequence[str], config: RuntimeConfig) -> str:
    """Why a run whose `last` updates were skipped should stop, and what to do, in one sentence."""
    norms = ", ".join(f"{report.gradient_norm:.3g}" for report in last)
    reasons = list(dict.fromkeys(report.skipped for report in last if report.skipped not in (None, "overflow")))
    why = " or ".join(_WHY[reason] for reason in reasons if reason)
    cures = "; ".join(_CURE[reason] for reason in reasons if reason)
    limit = config.grad_clip_norm * config.allowed_gradnorm_factor
    beyond = f", limit {limit:g}" if "norm" in reasons else ""
    scale = f", loss scale {last[-1].scale:g}" if last[-1].scale != 1 else ""
    return (
        f"{skips.strikes} updates in a row were skipped because {why} (last gradient norms {norms}{beyond}{scale}; "
        f"last samples {_few(samples)}): {cures}"
    )


_WHY: dict[Reason, str] = {
    "loss": "a loss was not finite",
    "gradient": "a gradient was not finite",
    "norm": "the gradient norm was far beyond the clip",
    "overflow": "a gradient left the range of float16, and the loss scale was lowered",
}
_CURE: dict[Reason, str] = {
    "loss": "look at the pictures, masks and cameras of these samples (scripts/check_data.py), and lower "
    "training.optimizer.lr if they are sound",
    "gradient": "lower training.optimizer.lr, and use training.runtime.amp_dtype bf16 or fp32 if it is fp16",
    "norm": "check the cameras of these samples, lower training.optimizer.lr, or raise "
    "training.runtime.allowed_gradnorm_factor",
}


def _few(samples: Sequence[str]) -> str:
    names = list(dict.fromkeys(samples))
    more = f" and {len(names) - MAX_NAMES} more" if len(names) > MAX_NAMES else ""
    return ", ".join(names[:MAX_NAMES]) + more
