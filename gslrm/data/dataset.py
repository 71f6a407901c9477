"""RandomViewDataset: sample directories to batches with views drawn anew each epoch."""

import itertools
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from torch.utils.data import Dataset, Sampler

from gslrm.cameras import Cameras, nearest_to_lines
from gslrm.config import Background, DatasetConfig, MouseConfig
from gslrm.data.lists import find_samples
from gslrm.data.masks import MaskPolicy, read_view
from gslrm.data.normalize import Placement, place_object, place_whole
from gslrm.data.sample import CAMERA_FILE, Sample, SampleView, read_sample
from gslrm.data.transforms import warp
from gslrm.errors import UserError
from gslrm.tensor_struct import concatenate, stack
from gslrm.types import Batch, Views

OVERLAP_ANGLE = 60.0  # degrees between the directions from the rig's focus to two cameras
GREY_LEVELS = {"white": 1.0, "gray": 0.5, "black": 0.0}


class SampleKey(NamedTuple):
    """What a sampler asks of a data set: everything random about an item follows from the seed and this."""

    epoch: int
    position: int


@dataclass(frozen=True)
class PlacedSample:
    """Input views of one sample as the network sees them, and how to bring any other view there."""

    sample: Sample
    placement: Placement
    input: Views
    input_index: tuple[int, ...]


class ViewDataset(Dataset[Batch]):
    """Samples of a list; subclasses say which views are taken."""

    def __init__(self, dataset: DatasetConfig, mouse: MouseConfig, *, image_size: int, seed: int) -> None:
        """Find the samples; images are read when an item is asked for.

        Raises:
            UserError: no path is configured, or it holds no samples.
        """
        if dataset.dataset_path is None:
            raise UserError("training.dataset.dataset_path is not set; give a sample, a directory or a list file")
        self.dataset = dataset
        self.mouse = mouse
        self.image_size = image_size
        self.seed = seed
        self.directories = find_samples(Path(dataset.dataset_path))
        self._samples: dict[int, Sample] = {}

    def __len__(self) -> int:
        return len(self.directories)

    def __getitem__(self, key: SampleKey) -> Batch:
        """One item without batch dimension.

        Raises:
            UserError: names the sample and file that cannot be used; nothing is put in its place.
        """
        rng = np.random.default_rng([self.seed, key.epoch, key.position])
        sample = self.sample(key.position)
        inputs, candidates = self.choose_views(sample, rng)
        count = self.dataset.num_target_views or len(candidates)
        targets = tuple(sorted(rng.choice(candidates, size=count, replace=False).tolist()))
        background = draw_background(self.dataset.background_color, rng)
        return load_item(
            sample, inputs, targets, dataset=self.dataset, mouse=self.mouse, size=self.image_size, background=background
        )

    def sample(self, index: int) -> Sample:
        """The camera file of a sample, read once."""
        if index not in self._samples:
            self._samples[index] = read_sample(self.directories[index])
        return self._samples[index]

    def choose_views(self, sample: Sample, rng: np.random.Generator) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """Indices of the input views and of those that may be targets, each ascending."""
        raise NotImplementedError

    def collate(self, items: list[Batch]) -> Batch:
        """Stack items; sample names are joined."""
        names = tuple(itertools.chain.from_iterable(item.names for item in items))
        return replace(stack([replace(item, names=()) for item in items]), names=names)


class RandomViewDataset(ViewDataset):
    """`num_views` views drawn anew for each epoch, of which the first `num_input_views` drawn are the inputs."""

    def choose_views(self, sample: Sample, rng: np.random.Generator) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """See the base class.

        Raises:
            UserError: the sample has fewer views than asked for, or too few overlap.
        """
        available, wanted, first = len(sample.views), self.dataset.num_views, self.dataset.num_input_views
        require_views(sample, wanted)
        order = rng.permutation(available)
        inputs, rest = order[:first], order[first:]
        if self.dataset.maximize_view_overlap:
            rest = rest[overlapping(sample, inputs, rest)]
            if len(rest) < wanted - first:
                raise UserError(
                    f"{sample.directory / CAMERA_FILE}: only {len(rest)} views lie within {OVERLAP_ANGLE:.0f} degrees "
                    f"of an input view, {wanted - first} are needed; lower num_views or unset maximize_view_overlap"
                )
        extra = rest[: wanted - first]
        candidates = np.concatenate([inputs, extra]) if self.dataset.target_has_input else extra
        return tuple(sorted(inputs.tolist())), tuple(sorted(candidates.tolist()))


class StreamSampler(Sampler[list[SampleKey]]):
    """Batches of an endless stream of epochs, each a seeded permutation of all samples.

    The batch of a pass depends on nothing but seed and pass number, so a run can start anywhere, with any number of
    workers, and lists shorter than a batch need no special case.
    """

    def __init__(self, length: int, *, batch_size: int, seed: int, start: int, stop: int) -> None:
        """Batches for the passes `start` .. `stop` - 1."""
        super().__init__()
        self.length = length
        self.batch_size = batch_size
        self.seed = seed
        self.passes = range(start, stop)

    def __len__(self) -> int:
        return len(self.passes)

    def __iter__(self) -> Iterator[list[SampleKey]]:
        epoch, order = -1, np.empty(0, np.int64)
        for step in self.passes:
            keys = []
            for position in range(step * self.batch_size, (step + 1) * self.batch_size):
                if position // self.length != epoch:
                    epoch = position // self.length
                    order = np.random.default_rng([self.seed, epoch]).permutation(self.length)
                keys.append(SampleKey(epoch, int(order[position % self.length])))
            yield keys


def place_sample(
    sample: Sample,
    input_index: tuple[int, ...],
    *,
    dataset: DatasetConfig,
    mouse: MouseConfig,
    size: int,
    background: Float[Tensor, "3"],
) -> PlacedSample:
    """Read the input views of a sample and bring them to the network's world; no other view is looked at.

    Raises:
        UserError: names the sample, its file and the cure.
    """
    policy = mask_policy(dataset, mouse)
    views = sample.select(input_index)
    stored = [read_view(view, policy) for view in views]
    cameras = [view.camera for view in views]
    try:
        if mouse.normalize_cameras:
            placement = place_object([image[..., 3] for image in stored], cameras, size=size, mouse=mouse)
        else:
            placement = place_whole(
                [view.camera for view in sample.views], size=size, mean_distance=dataset.normalize_distance_to
            )
        placed = _place_views(views, stored, placement, background)
    except (UserError, ValueError) as error:
        raise UserError(f"{sample.directory / CAMERA_FILE}: {error}") from error
    return PlacedSample(sample, placement, placed, input_index)


def load_targets(
    placed: PlacedSample, target_index: tuple[int, ...], policy: MaskPolicy, background: Float[Tensor, "3"]
) -> Views:
    """Read further views of a placed sample, at the network's resolution.

    Raises:
        UserError: names the sample, its file and the cure.
    """
    views = placed.sample.select(target_index)
    stored = [read_view(view, policy) for view in views]
    try:
        return _place_views(views, stored, placed.placement, background)
    except ValueError as error:
        raise UserError(f"{placed.sample.directory / CAMERA_FILE}: {error}") from error


def load_item(
    sample: Sample,
    input_index: tuple[int, ...],
    target_index: tuple[int, ...],
    *,
    dataset: DatasetConfig,
    mouse: MouseConfig,
    size: int,
    background: Float[Tensor, "3"],
) -> Batch:
    """One training item; target views that are also input views are read once.

    Raises:
        UserError: names the sample, its file and the cure.
    """
    placed = place_sample(sample, input_index, dataset=dataset, mouse=mouse, size=size, background=background)
    fresh = tuple(index for index in target_index if index not in input_index)
    known = placed.input
    if fresh:
        known = concatenate([known, load_targets(placed, fresh, mask_policy(dataset, mouse), background)])
    order = [(*input_index, *fresh).index(index) for index in target_index]
    return Batch(
        input=placed.input,
        target=known[order],
        input_index=torch.tensor(input_index),
        target_index=torch.tensor(target_index),
        background=background,
        names=(sample.name,),
    )


def mask_policy(dataset: DatasetConfig, mouse: MouseConfig) -> MaskPolicy:
    """Where this configuration takes masks from."""
    return MaskPolicy(mouse.auto_generate_mask, mouse.mask_threshold, dataset.remove_alpha)


def draw_background(colour: Background, rng: np.random.Generator) -> Float[Tensor, "3"]:
    """RGB of the configured background; `random` is any colour, `three_choices` white, grey or black."""
    if colour == "random":
        return torch.from_numpy(rng.random(3, dtype=np.float32))
    if colour == "three_choices":
        level = tuple(GREY_LEVELS.values())[rng.integers(3)]
    else:
        level = GREY_LEVELS[colour] if isinstance(colour, str) else float(colour)
    return torch.full((3,), level)


def require_views(sample: Sample, wanted: int) -> None:
    """Refuse a sample with too few views.

    Raises:
        UserError: names the camera file and both counts.
    """
    if len(sample.views) < wanted:
        raise UserError(
            f"{sample.directory / CAMERA_FILE}: has {len(sample.views)} views, training.dataset.num_views asks for "
            f"{wanted}; lower it or remove the sample from the list"
        )


def overlapping(sample: Sample, inputs: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Boolean [len(others)]: views within OVERLAP_ANGLE of an input view, seen from the rig's focus.

    The focus is the point nearest to all optical axes; directions are normalised, so the scale of the world and the
    distances of the cameras do not matter.
    """
    pose = torch.stack([view.camera.world_from_camera for view in sample.views])
    position, axis = pose[:, :3, 3], pose[:, :3, 2]
    focus = nearest_to_lines(position, axis)
    direction = torch.nn.functional.normalize(position - focus, dim=1).numpy()
    cosine = direction[others] @ direction[inputs].T
    return cosine.max(axis=1) >= np.cos(np.radians(OVERLAP_ANGLE)) - 1e-9


def _place_views(
    views: list[SampleView], stored: list[np.ndarray], placement: Placement, background: Float[Tensor, "3"]
) -> Views:
    images, masks, cameras = [], [], []
    for view, premultiplied in zip(views, stored, strict=True):
        crop = placement.crop_camera(view.camera)
        resampled = torch.from_numpy(_resample(premultiplied, view.camera, crop)).permute(2, 0, 1)
        colour, coverage = resampled[:3], resampled[3:]
        images.append((colour + (1 - coverage) * background[:, None, None]).clamp(0, 1))
        masks.append(coverage)
        cameras.append(placement.to_world(crop).float())
    return Views(torch.stack(images), torch.stack(masks), stack(cameras))


def _resample(premultiplied: np.ndarray, source: Cameras, target: Cameras) -> np.ndarray:
    same_size = (source.height, source.width) == (target.height, target.width)
    same_rays = torch.equal(source.focal, target.focal) and torch.equal(
        source.world_from_camera, target.world_from_camera
    )
    return premultiplied if same_size and same_rays else warp(premultiplied, source, target)
