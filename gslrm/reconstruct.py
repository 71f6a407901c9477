"""A checkpoint and a sample to Gaussians in the sample's own world, and pictures at the sample's own cameras.

What the network needs (similarity of the world, crops, blur of its own pixels) happens here and is undone exactly, so
neither users nor metrics ever see it.
"""

import json
import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from gslrm.cameras import Cameras
from gslrm.config import Config, DatasetConfig
from gslrm.config_io import config_from_mapping, load_config, parse_view_list
from gslrm.data.masks import read_view
from gslrm.data.placed_sample import PlacedSample, find_placement, mask_policy, place_sample
from gslrm.data.placement import Placement
from gslrm.data.sample import CAMERA_FILE, Sample
from gslrm.errors import UserError
from gslrm.model import build_model
from gslrm.model.family import recognise
from gslrm.model.weights import deployed_weights, load_published, read_checkpoint_file
from gslrm.render import Rasterizer, build_rasterizer
from gslrm.shipped import shipped_checkpoint, zero_shot_config
from gslrm.tensor_struct import stack
from gslrm.training.runtime import Runtime, build_runtime
from gslrm.types import Gaussians, Rendering, Views

WHITE = torch.ones(3)
logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Reconstruction:
    """Gaussians of one sample in the network's world, unbatched, with the way back to the sample's world."""

    gaussians: Gaussians
    placed: PlacedSample

    def in_source(self) -> Gaussians:
        """The Gaussians in the sample's own world: its axes, its units."""
        return self.gaussians.transform(self.placed.placement.world_from_source.inverse())

    @property
    def center(self) -> Float[Tensor, "3"]:
        """The origin of the network's world, in the sample's world: where the object is."""
        return self.placed.placement.world_from_source.inverse().translation


@dataclass(frozen=True)
class Reconstructor:
    """A trained network with everything needed to apply it to samples."""

    model: nn.Module
    config: Config
    runtime: Runtime
    rasterizer: Rasterizer

    @staticmethod
    def from_checkpoint(
        path: Path | None = None,
        *,
        device: str = "auto",
        overrides: tuple[str, ...] = (),
        config_file: Path | None = None,
    ) -> "Reconstructor":
        """Build the network of a training checkpoint, of published weights, or of the small model that is shipped.

        The weights are the running average where the run kept one; `training.adapt.ema.decay=0` takes the last ones.

        Raises:
            UserError: the file is missing or damaged, holds no network that is known here, carries a configuration
                although `config_file` names another, or adapts weights that are not there.
        """
        path = path or shipped_checkpoint()
        content = read_checkpoint_file(path)
        config = _configuration(content, path, config_file, (f"training.runtime.device={device}", *overrides))
        model = build_model(config.model)
        adapt = config.training.adapt
        averaged = adapt.ema.decay > 0
        weights = deployed_weights(content, name=str(path), base=adapt.base, averaged=averaged)
        load_published(model, weights, name=str(path))
        return build_reconstructor(model, config)

    def place(
        self,
        sample: Sample,
        input_index: tuple[int, ...],
        background: Float[Tensor, "3"] = WHITE,
        *,
        stored: Sequence[np.ndarray] | None = None,
        placement: Placement | None = None,
    ) -> PlacedSample:
        """Read the input views, unless they are `stored`; see `gslrm.data.placed_sample.place_sample`."""
        return place_sample(
            sample,
            input_index,
            dataset=self.dataset,
            mouse=self.config.mouse,
            size=self.config.model.image_tokenizer.image_size,
            background=background,
            stored=stored,
            placement=placement,
        )

    def find_placement(self, sample: Sample, input_index: tuple[int, ...]) -> Placement:
        """How a sample would be placed by itself; see `gslrm.data.placed_sample.find_placement`."""
        policy = mask_policy(self.dataset, self.config.mouse)
        coverages = [read_view(view, policy)[..., 3] for view in sample.select(input_index)]
        return find_placement(
            sample,
            input_index,
            coverages,
            dataset=self.dataset,
            mouse=self.config.mouse,
            size=self.config.model.image_tokenizer.image_size,
        )

    @property
    def dataset(self) -> DatasetConfig:
        """How samples are read: as in training, on white."""
        return self.config.training.dataset

    def reconstruct(self, placed: PlacedSample) -> Reconstruction:
        """One forward pass over the input views."""
        return self.reconstruct_batch([placed])[0]

    @torch.inference_mode()
    def reconstruct_batch(self, samples: Sequence[PlacedSample]) -> list[Reconstruction]:
        """One forward pass over several samples of equally many input views; none depends on the others.

        Gaussians of opacity 0 are left out: some networks fill up scenes with them to the size of the largest.
        """
        views = stack([placed.input for placed in samples]).to(self.runtime.device)
        with self.runtime.autocast():
            gaussians = self.model(views).float()
        scenes = [gaussians[index] for index in range(len(samples))]
        kept = [scene[scene.opacities != 0] for scene in scenes]  # NaN stays and is seen
        return [Reconstruction(*pair) for pair in zip(kept, samples, strict=True)]

    @torch.inference_mode()
    def render(
        self, reconstruction: Reconstruction, camera: Cameras, background: Float[Tensor, "3"] = WHITE
    ) -> Rendering:
        """A picture at one camera of the sample's own world: [1, ...] on the CPU, depth in the sample's units."""
        placement = reconstruction.placed.placement
        rendering = self.rasterizer(
            reconstruction.gaussians[None],
            placement.to_world(camera)[None, None].float().to(self.runtime.device),
            background[None].to(self.runtime.device),
            resolution_ratio=placement.resolution_ratio(camera),
        )[0].to("cpu")
        return replace(rendering, depth=rendering.depth / float(placement.world_from_source.scale))

    def truth(self, placed: PlacedSample, index: int, background: Float[Tensor, "3"] = WHITE) -> Views:
        """One stored view [1, ...] at its own size, on the background.

        Raises:
            UserError: its image or mask is missing or damaged.
        """
        (view,) = placed.sample.select((index,))
        stored = torch.from_numpy(read_view(view, mask_policy(self.dataset, self.config.mouse))).permute(2, 0, 1)
        image = stored[:3] + (1 - stored[3:]) * background[:, None, None]
        return Views(image[None].clamp(0, 1), stored[None, 3:], view.camera[None])


def _configuration(content: dict[str, Any], path: Path, config_file: Path | None, overrides: tuple[str, ...]) -> Config:
    """The configuration that a checkpoint carries, that of the file given, or that of the weights' own shapes."""
    carries = isinstance(content.get("config"), dict)
    if carries and config_file is not None:
        raise UserError(f"{path}: carries its own configuration; leave --config {config_file} away, --set changes keys")
    if carries:
        return config_from_mapping(content["config"], source=str(path), overrides=overrides)
    if config_file is not None:
        return load_config(config_file, overrides)
    found = recognise(deployed_weights(content, name=str(path)), name=str(path))
    defaults = zero_shot_config(found.family)
    shown = {"model": found.model, "training": {"dataset": {"dataset_path": None}}}  # trained elsewhere
    logger.info("%s: weights of %s, applied as %s says", path, found.family, defaults.name)
    return load_config(defaults, (*_as_overrides(shown), *overrides))


def _as_overrides(settings: Mapping[str, Any], prefix: str = "") -> Iterator[str]:
    for name, value in settings.items():
        if isinstance(value, Mapping):
            yield from _as_overrides(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}={json.dumps(value)}"


def build_reconstructor(model: nn.Module, config: Config) -> Reconstructor:
    """Wire a network that is already in memory.

    Raises:
        UserError: the device or rasterizer asked for is not there.
    """
    runtime = build_runtime(config.training.runtime)
    rasterizer = build_rasterizer(config.render.backend, config.render, device=runtime.device.type)
    return Reconstructor(model.to(runtime.device).eval(), config, runtime, rasterizer)


def choose_inputs(config: Config, sample: Sample, asked: str | None = None) -> tuple[int, ...]:
    """The input views that a user asked for, or the first `num_input_views` as in training.

    Raises:
        UserError: the sample lacks some of them, or none are left.
    """
    count = config.training.dataset.num_input_views
    if asked is None and len(sample.views) < count:
        raise UserError(
            f"{sample.directory / CAMERA_FILE}: has {len(sample.views)} views, {count} are given to the model; "
            "--input-views all gives it those that are there"
        )
    views = tuple(range(count)) if asked is None else parse_view_list(asked, option="--input-views")
    if views is None:
        views = tuple(range(len(sample.views)))
    if not views:
        raise UserError(f"--input-views {asked}: the model needs at least one input view")
    sample.select(views)
    return views


def describe(config: Config) -> dict[str, Any]:
    """What a report should say about the model."""
    return {"model": config.model.model_dump(mode="json"), "mouse": config.mouse.model_dump(mode="json")}
