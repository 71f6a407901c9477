"""Memory and time that a configuration will take on a device, before it is there."""

from dataclasses import dataclass

from gslrm.config import Config, ModelConfig
from gslrm.doctor.rehearsal import Rehearsal, rehearse, rehearse_reconstruction
from gslrm.doctor.target import BUS_BANDWIDTH, HOST_BANDWIDTH, Target

SHOWN = 0.25  # share of patches and pixels that show the object, where drop_background leaves out the others
DEFERRED = 4 / 3  # a view drawn twice and differentiated once, by a view drawn once: drawing is a third
UPDATE_BYTES = 28  # read or written for each trained parameter: weight, gradient and two moments, all but one twice
BUS_BYTES = 12  # of them over the bus with `optimizer.offload`: weight and gradient there, the weight back
CLOSE = 0.05  # share of the memory below which what is to spare may be less than what the estimate errs


@dataclass(frozen=True)
class Estimate:
    """What one configuration asks of one device."""

    rehearsal: Rehearsal
    target: Target
    tokens: int
    """Per sample: the longest sequence that attends to itself."""
    matrix_seconds: float
    elementwise_seconds: float
    rendering_seconds: float
    update_seconds: float
    """Of an update, divided by the passes that it takes."""
    passes: int
    """Of the whole run."""
    batch: int
    """Samples of a pass."""

    @property
    def taken(self) -> int:
        """Bytes of the device that the process takes."""
        return self.target.taken(self.rehearsal.peak)

    @property
    def spare(self) -> int:
        """Bytes of the device that are left; negative where it does not fit."""
        return self.target.memory - self.taken

    @property
    def fits(self) -> bool:
        """Whether the device has as much."""
        return self.spare >= 0

    @property
    def is_close(self) -> bool:
        """Whether it fits by less than the estimate may err."""
        return self.fits and self.spare < CLOSE * self.target.memory

    @property
    def pass_seconds(self) -> float:
        """One pass, with its share of an update; loading data is not counted."""
        return self.matrix_seconds + self.elementwise_seconds + self.rendering_seconds + self.update_seconds

    @property
    def sample_seconds(self) -> float:
        """A pass, by sample: what is comparable between batches of different size."""
        return self.pass_seconds / self.batch

    @property
    def run_seconds(self) -> float:
        """All passes of the schedule."""
        return self.passes * self.pass_seconds


def estimate(config: Config, target: Target, *, shown: float = SHOWN) -> Estimate:
    """Rehearse a training pass.

    Args:
        config: what is trained.
        target: where.
        shown: share of patches and pixels that show the object; counts with `model.drop_background` only.

    Raises:
        UserError: the configuration's adaptation is impossible, or a package for it is missing.
    """
    return _priced(config, target, rehearse(config, target, shown=shown))


def estimate_reconstruction(config: Config, target: Target, *, shown: float = SHOWN) -> Estimate:
    """Rehearse what inference does with one sample: the forward pass, and one picture."""
    return _priced(config, target, rehearse_reconstruction(config, target, shown=shown))


def _priced(config: Config, target: Target, rehearsal: Rehearsal) -> Estimate:
    speed = target.speed
    return Estimate(
        rehearsal=rehearsal,
        target=target,
        tokens=_tokens(config.model, views=config.training.dataset.num_input_views),
        matrix_seconds=rehearsal.flops / speed.flops,
        elementwise_seconds=rehearsal.moved_bytes / speed.bandwidth,
        rendering_seconds=rehearsal.splat_views / speed.splats * (DEFERRED if config.render.deferred_backward else 1),
        update_seconds=rehearsal.trained * _update_seconds(config, target) / config.training.runtime.grad_accum_steps,
        passes=config.training.schedule.max_fwdbwd_passes,
        batch=config.training.dataloader.batch_size_per_gpu,
    )


def _tokens(model: ModelConfig, *, views: int) -> int:
    side = model.image_tokenizer.image_size
    if model.family == "lgm":
        return views * (side // model.lgm.shape.attention_reduction) ** 2
    detail = model.hull.detail if model.depth_anchor == "corrected_hull" else 1
    return model.gaussians.n_gaussians + views * (side // detail // model.image_tokenizer.patch_size) ** 2


def _update_seconds(config: Config, target: Target) -> float:
    """Of one parameter: AdamW only moves numbers."""
    if not config.training.optimizer.offload:
        return UPDATE_BYTES / target.speed.bandwidth
    return UPDATE_BYTES / HOST_BANDWIDTH + BUS_BYTES / BUS_BANDWIDTH
