"""One training pass on tensors without memory: what lives at its peak, what it computes.

The network, what is frozen, adapters, checkpointing, autocast and losses are the code that trains; data, the
rasterizer's kernels and the frozen networks of losses have stand-ins.
"""

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode

from gslrm.cameras import Cameras
from gslrm.config import Config, LossesConfig
from gslrm.doctor.ledger import WEIGHT_COPIES, Ledger
from gslrm.doctor.splatting import Allocation, Splats, allocation_of, rehearsed_rasterization, splat_radius
from gslrm.doctor.stand_ins import AssumedData, GpuAutocast, assumed_hull
from gslrm.doctor.state import training_state
from gslrm.doctor.target import Target
from gslrm.model import build_model
from gslrm.model.adapt import choose_trainable
from gslrm.model.perceptual import VggDistance
from gslrm.model.utils_losses import Losses
from gslrm.render import BatchRasterizer
from gslrm.types import Batch, Gaussians, Rendering, Views

TRAINED, FROZEN, GRADIENTS = "parameters, trained", "parameters, frozen", "gradients"
OPTIMIZER, COPIES = "optimiser state", "average and anchor of weights"
LOSS_NETWORKS, BATCH = "networks of the losses", "batch and targets"
ACTIVATIONS, GAUSSIANS = "activations kept", "Gaussians"
RENDERER, LOSSES, BACKWARD = "renderer", "pictures and losses", "recomputed, passing in backward"
LABELS = (
    TRAINED, FROZEN, GRADIENTS, OPTIMIZER, COPIES, WEIGHT_COPIES, LOSS_NETWORKS, BATCH, ACTIVATIONS, GAUSSIANS,
    RENDERER, LOSSES, BACKWARD,
)  # fmt: skip
CPU = torch.device("cpu")  # of all rehearsed tensors: torch without CUDA cannot differentiate others


@dataclass(frozen=True)
class Rehearsal:
    """What one pass of training asks for."""

    bytes_at_peak: dict[str, int]
    """By label, in the order of `LABELS`."""
    host_bytes: int
    """In the host's memory beside the device's: what `optimizer.offload` keeps there."""
    flops: int
    moved_bytes: int
    """Read or written by elementwise operations."""
    gaussians: int
    """Of one sample."""
    splat_views: int
    """Gaussians drawn, times target views."""
    parameters: int
    trained: int

    @property
    def peak(self) -> int:
        """Bytes of living tensors at the peak."""
        return sum(self.bytes_at_peak.values())


def rehearse(config: Config, target: Target, *, shown: float) -> Rehearsal:
    """Go through a pass of the steady state: moments are there, and gradients too where they are accumulated.

    Args:
        config: what is trained.
        target: decides the type of autocast, the rasterizer and what autocast leaves in float32.
        shown: share of patches and pixels that show the object, where `model.drop_background` leaves out the others.

    Raises:
        UserError: the configuration's adaptation is impossible, or peft is missing.
    """
    with torch.device("meta"):
        model = build_model(config.model)
        choose_trainable(model, config.training.adapt)
    state = training_state(model, config.training)
    ledger = Ledger()
    ledger.hold(OPTIMIZER, state.optimizer_bytes)
    ledger.hold(COPIES, state.copy_bytes)
    with _stage(model, config, target, ledger, shown=shown):
        network = _Network(model.train(), config, target, ledger)
        _Training(network, config, ledger).run()
    return network.told(host_bytes=state.host_bytes)


def rehearse_reconstruction(config: Config, target: Target, *, shown: float) -> Rehearsal:
    """One sample without gradients: the forward pass, and one picture."""
    with torch.device("meta"):
        model = build_model(config.model)
    ledger = Ledger()
    with _stage(model, config, target, ledger, shown=shown), torch.no_grad():
        network = _Network(model.eval(), config, target, ledger)
        with ledger.labelled(BATCH):
            batch = empty_batch(config)[:1]
        network.render(network.forward(batch.input), batch.target.cameras[:, :1], batch.background)
    return network.told(host_bytes=0)


@contextlib.contextmanager
def _stage(model: nn.Module, config: Config, target: Target, ledger: Ledger, *, shown: float) -> Iterator[None]:
    """Context in which the model, built without memory, can be run without memory."""
    rules = GpuAutocast() if target.is_card else contextlib.nullcontext()
    share = shown if config.model.drop_background else 1.0
    all_drawn = share == 1.0 or config.model.depth_anchor == "corrected_hull"  # which has no Gaussians elsewhere
    with FakeTensorMode(allow_non_fake_inputs=True) as fake:
        model.to_empty(device=CPU)
        fake.allow_non_fake_inputs = False
        with rules, ledger, AssumedData(share, answer=all_drawn), assumed_hull(share):
            yield


class _Network:
    """The model and the rasterizer, labelled."""

    def __init__(self, model: Any, config: Config, target: Target, ledger: Ledger) -> None:
        self.model, self.config, self.target, self.ledger = model, config, target, ledger
        self.gaussians = 0
        self.drawn: list[int] = []
        model.recompute_every(config.training.runtime.grad_checkpoint_every)
        self.trained = [value for value in model.parameters() if value.requires_grad]
        ledger.note_weights(self.trained, TRAINED)
        ledger.note_weights([value for value in model.parameters() if not value.requires_grad], FROZEN)
        for name in ("decode", "decode_about"):
            if (decode := getattr(model, name, None)) is not None:
                setattr(model, name, partial(_labelled, ledger, GAUSSIANS, decode))

    def forward(self, views: Views) -> Gaussians:
        """As the trainer calls it."""
        amp = self.target.amp_dtype
        with torch.autocast("cpu", dtype=amp, enabled=amp is not None), self.ledger.labelled(ACTIVATIONS):
            gaussians = self.model(views)
        self.gaussians = gaussians.means.shape[1]
        return gaussians

    def render(self, gaussians: Gaussians, cameras: Cameras, background: Tensor) -> Rendering:
        """Draw nothing, at the cost of drawing."""
        side = self.config.model.image_tokenizer.image_size
        allocate = allocation_of(self.config.render.backend, is_card=self.target.is_card)

        def noted(splats: Splats) -> Allocation:
            self.drawn.append(splats.count * splats.cameras)
            return allocate(splats)

        rasterization = rehearsed_rasterization(noted, splat_radius(self.config, side=side))
        with self.ledger.labelled(RENDERER):
            return BatchRasterizer(rasterization, self.config.render)(gaussians.float(), cameras, background)

    def told(self, *, host_bytes: int) -> Rehearsal:
        """What was noted."""
        ledger, values = self.ledger, list(self.model.parameters())
        return Rehearsal(
            bytes_at_peak={label: ledger.peak.get(label, 0) for label in LABELS},
            host_bytes=host_bytes,
            flops=ledger.flops,
            moved_bytes=ledger.moved_bytes,
            gaussians=self.gaussians,
            splat_views=sum(self.drawn),
            parameters=sum(value.numel() for value in values),
            trained=sum(value.numel() for value in self.trained),
        )


class _Training:
    """The trainer's pass; references live as long as the trainer's do."""

    def __init__(self, network: _Network, config: Config, ledger: Ledger) -> None:
        self.network, self.ledger = network, ledger
        self.accumulate = config.training.runtime.grad_accum_steps
        with ledger.labelled(GRADIENTS):
            for value in network.trained:
                value.register_post_accumulate_grad_hook(lambda value: ledger.note([value.grad], GRADIENTS))
                if self.accumulate > 1:
                    value.grad = torch.empty_like(value)
        with ledger.labelled(LOSS_NETWORKS):
            self.losses = _Losses(config)
        with ledger.labelled(BATCH):
            self.batch = empty_batch(config)

    def run(self) -> None:
        """Forward and backward."""
        total, _rendering = self.step()  # the trainer holds both until the pass ends
        with self.ledger.labelled(BACKWARD):
            (total / self.accumulate).backward()

    def step(self) -> tuple[Tensor, Rendering]:
        """As the trainer's."""
        gaussians = self.network.forward(self.batch.input)
        rendering = self.network.render(gaussians, self.batch.target.cameras, self.batch.background)
        with self.ledger.labelled(LOSSES):
            return self.losses(gaussians, rendering, self.batch), rendering


class _Losses:
    """The terms of a configuration; VGG19, with no weights read, stands for its own term and for LPIPS' VGG16."""

    def __init__(self, config: Config) -> None:
        losses = config.training.losses
        self.weights = [weight for weight in (losses.perceptual_loss_weight, losses.lpips_loss_weight) if weight]
        self.networks = [VggDistance() for _ in self.weights]
        without = losses.model_copy(update={"perceptual_loss_weight": 0.0, "lpips_loss_weight": 0.0, "starts": {}})
        if not any(value for key, value in without if key.endswith("_weight")):
            without = LossesConfig()
        self.others = Losses(without, config.training.schedule, model=config.model)

    def __call__(self, gaussians: object, rendering: Rendering, batch: Batch) -> Tensor:
        step = self.others.warmup  # the first pass in which all terms count
        total = self.others(gaussians, rendering, batch, step=step).total
        pictures, truth = rendering.rgb.flatten(0, 1), batch.target.images.flatten(0, 1)
        for weight, network in zip(self.weights, self.networks, strict=True):
            total = total + weight * network(pictures, truth)
        return total


def empty_batch(config: Config) -> Batch:
    """A batch as the loader gives it, with nothing in it."""
    dataset, side = config.training.dataset, config.model.image_tokenizer.image_size
    scenes, targets = config.training.dataloader.batch_size_per_gpu, target_views(config)
    index = [torch.empty(scenes, views, dtype=torch.int64) for views in (dataset.num_input_views, targets)]
    given, wanted = (_empty_views(scenes, views, side) for views in (dataset.num_input_views, targets))
    return Batch(given, wanted, index[0], index[1], torch.empty(scenes, 3), ("nothing",) * scenes)


def target_views(config: Config) -> int:
    """Views rendered and compared in a pass."""
    dataset = config.training.dataset
    candidates = dataset.num_views - (0 if dataset.target_has_input else dataset.num_input_views)
    return dataset.num_target_views or candidates


def _empty_views(scenes: int, views: int, side: int) -> Views:
    cameras = Cameras(
        torch.empty(scenes, views, 4, 4), torch.empty(scenes, views, 2), torch.empty(scenes, views, 2), side, side
    )
    return Views(torch.empty(scenes, views, 3, side, side), torch.empty(scenes, views, 1, side, side), cameras)


def _labelled(ledger: Ledger, label: str, function: Callable[..., Any], *given: Any) -> Any:
    with ledger.labelled(label):
        return function(*given)
