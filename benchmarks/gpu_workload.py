"""A training pass and a reconstruction on made-up pictures, with their time and memory."""

import resource
import time
from collections.abc import Callable
from dataclasses import asdict
from importlib.util import find_spec
from statistics import median
from typing import Any

import torch

from gslrm.cameras import Cameras
from gslrm.config import Config, RenderConfig
from gslrm.model import build_model
from gslrm.model.utils_losses import Losses
from gslrm.reconstruct import build_reconstructor
from gslrm.render import build_rasterizer
from gslrm.training.adaptation import Adaptation
from gslrm.training.guard import GuardedUpdate
from gslrm.training.optim import build_optimizer
from gslrm.training.runtime import seed_everything
from gslrm.types import Batch, Gaussians, Views

DISTANCE, FOCAL, BALL = 2.7, 1.072, 0.25  # world units; focal length and radius as shares of the picture: 50 degrees
MOST_ATTEMPTS = 30  # float16 begins with a scale of 65,536 and halves it with every overflow
HUGE = 1e9

Row = dict[str, Any]


class Workload:
    """The network of a configuration, with everything that a training pass needs."""

    def __init__(self, config: Config) -> None:
        """Random weights; nothing is read from disk."""
        seed_everything(config.training.runtime.seed)
        model = build_model(config.model)
        self.reconstructor = build_reconstructor(model, config)
        self.device = self.reconstructor.runtime.device
        self.adaptation = Adaptation(model, config.training.adapt)
        self.losses = Losses(config.training.losses, config.training.schedule, model=config.model).to(self.device)
        self.model = self.reconstructor.model
        model.recompute_every(config.training.runtime.grad_checkpoint_every)
        self.optimizer = build_optimizer(self.model, config.training.optimizer, fused=True)
        # Random weights on random pictures have any gradient norm; the guard against large ones is not what is tried.
        guard = config.training.runtime.model_copy(update={"allowed_gradnorm_factor": HUGE})
        self.update = GuardedUpdate(
            self.optimizer, guard, scale=self.reconstructor.runtime.needs_scaler, device=self.device.type
        )
        self.batch = made_up_batch(config).to(self.device)

    def train_pass(self) -> Row:
        """Forward, backward and update, as in the trainer."""
        self.model.train()
        with self.reconstructor.runtime.autocast():
            gaussians = self.model(self.batch.input)
        rendering = self.reconstructor.rasterizer(gaussians.float(), self.batch.target.cameras, self.batch.background)
        report = self.losses(gaussians, rendering, self.batch, step=0)
        self.update.backward(report.total)
        update = self.update(losses_finite=bool(report.total.isfinite()))
        if update.taken:
            self.adaptation.after_update()
        return {"loss": float(report.total.detach()), "gradient_norm": update.gradient_norm, "taken": update.taken}

    def first_update(self) -> Row:
        """Passes until one is taken."""
        attempts, row = 0, {"taken": False}
        while not row["taken"] and attempts < MOST_ATTEMPTS:
            attempts, row = attempts + 1, self.train_pass()
        return {**row, "attempts": attempts}

    @torch.inference_mode()
    def infer(self) -> None:
        """Reconstruct the input views and render all target views."""
        self.model.eval()
        with self.reconstructor.runtime.autocast():
            gaussians = self.model(self.batch.input)
        self.reconstructor.rasterizer(gaussians.float(), self.batch.target.cameras, self.batch.background)

    def measure(self, repeats: int) -> Row:
        """Median seconds of a training pass and of a reconstruction."""
        return {
            "training_pass_seconds": self._median_seconds(self.train_pass, repeats),
            "inference_seconds": self._median_seconds(self.infer, repeats),
            "batch": self.batch.background.shape[0],
            "input_views": self.batch.input.images.shape[1],
            "target_views": self.batch.target.images.shape[1],
        }

    def _median_seconds(self, function: Callable[[], Any], repeats: int) -> float:
        times = []
        for _ in range(repeats + 1):  # the first is a warm-up
            synchronize(self.device.type)
            start = time.perf_counter()
            function()
            synchronize(self.device.type)
            times.append(time.perf_counter() - start)
        return median(times[1:])


def made_up_batch(config: Config) -> Batch:
    """Random pictures with a disc for a mask, seen from a ring of cameras."""
    dataset, size = config.training.dataset, config.model.image_tokenizer.image_size
    scenes, inputs = config.training.dataloader.batch_size_per_gpu, dataset.num_input_views
    targets = dataset.num_target_views or dataset.num_views
    generator = torch.Generator().manual_seed(0)
    place = torch.linspace(-1, 1, size)
    disc = ((place[:, None] ** 2 + place**2) < 0.5).float().expand(scenes, targets, 1, size, size)
    images = torch.rand(scenes, targets, 3, size, size, generator=generator) * disc + 1 - disc
    views = Views(images, disc, ring(max(inputs, targets), size)[:targets].map(lambda t: t.expand(scenes, *t.shape)))
    shown = min(inputs, targets)
    given = Views(views.images[:, :shown], views.masks[:, :shown], views.cameras[:, :shown])
    index = torch.arange(targets).expand(scenes, targets)
    return Batch(given, views, index[:, :shown], index, torch.ones(scenes, 3), tuple("made up" for _ in range(scenes)))


def ring(views: int, size: int) -> Cameras:
    """Cameras around the origin."""
    angle = 2 * torch.pi * torch.arange(views) / views
    position = DISTANCE * torch.stack([angle.cos(), angle.sin(), torch.full_like(angle, 0.2)], dim=-1)
    pixels = torch.full((views, 2), float(size))
    return Cameras.look_at(
        position, torch.zeros_like(position), torch.tensor([0.0, 0.0, 1.0]), focal=FOCAL * pixels, center=pixels / 2,
        height=size, width=size,
    )  # fmt: skip


def render_full_size(device: str, size: int, deferred: bool) -> Row:
    """Seconds of rendering what six input views give, forward and backward, in six target views."""
    generator = torch.Generator().manual_seed(0)
    count, pixel = 2 + 6 * size**2, DISTANCE / (FOCAL * size)
    gaussians = Gaussians(
        means=BALL * torch.randn(1, count, 3, generator=generator),
        scales=torch.full((1, count, 3), 1.25 * pixel),
        rotations=torch.randn(1, count, 4, generator=generator),
        opacities=torch.full((1, count), 0.12),
        harmonics=torch.randn(1, count, 1, 3, generator=generator),
    )
    leaves = gaussians.to(device).map(lambda tensor: tensor.requires_grad_())
    cameras = ring(6, size)[None].to(device)
    config = RenderConfig(deferred_backward=deferred, **compiled_constants(device))
    rasterizer = build_rasterizer("auto", config, device=device)
    seconds = []
    for _ in range(2):  # the first is a warm-up
        synchronize(device)
        start = time.perf_counter()
        rasterizer(leaves, cameras, torch.ones(1, 3, device=device)).rgb.square().mean().backward()
        synchronize(device)
        seconds.append(time.perf_counter() - start)
    return {"forward_backward_seconds": seconds[-1]}


def compiled_constants(device: str) -> dict[str, float]:
    """The constants of the installed gsplat as keys of `render`; nothing where the CPU rasterizer works."""
    if device == "cpu" or find_spec("gsplat") is None:
        return {}
    from gslrm.render import gsplat_backend

    return asdict(gsplat_backend.compiled_constants("cuda:0"))


def within_memory(measure: Callable[[], Row], device: str) -> Row:
    """What a measurement says, with the peak of memory; or that memory did not suffice."""
    if device == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
    try:
        row = measure()
    except torch.OutOfMemoryError as error:
        row = {"out_of_memory": str(error).splitlines()[0]}
    if device == "cuda":
        peaks = {"allocated": torch.cuda.max_memory_allocated(), "reserved": torch.cuda.max_memory_reserved()}
    else:
        peaks = {"process": 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss}
    return {**row, "peak_bytes": peaks}


def synchronize(device: str) -> None:
    """Wait for the device."""
    if device == "cuda":
        torch.cuda.synchronize()
