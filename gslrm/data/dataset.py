"""RandomViewDataset: sample directories to batches with views drawn anew each epoch."""

import itertools
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from torch.utils.data import Dataset

from gslrm.cameras import nearest_to_lines
from gslrm.config import Background, DatasetConfig, MouseConfig
from gslrm.data.augment import augment
from gslrm.data.disturb import disturb
from gslrm.data.lists import find_samples, require_images
from gslrm.data.placed_sample import load_item
from gslrm.data.sample import CAMERA_FILE, Sample, read_sample
from gslrm.data.sampler import SampleKey
from gslrm.errors import UserError
from gslrm.tensor_struct import stack
from gslrm.types import Batch, Views

OVERLAP_ANGLE = 60.0  # degrees between the directions from the rig's focus to two cameras
DROP, NOISE, AUGMENT = 1, 2, 3  # streams of random numbers apart from that of views and backgrounds
GREY_LEVELS = {"white": 1.0, "gray": 0.5, "black": 0.0}


class ViewDataset(Dataset[Batch]):
    """Samples of a list; subclasses say which views are taken."""

    def __init__(
        self, dataset: DatasetConfig, mouse: MouseConfig, *, image_size: int, seed: int, depths: bool = False
    ) -> None:
        """Find the samples; images, and depth maps if `depths` are wanted, are read when an item is asked for.

        Raises:
            UserError: no path is configured, it holds no samples, or an image is missing.
        """
        if dataset.dataset_path is None:
            raise UserError("training.dataset.dataset_path is not set; give a sample, a directory or a list file")
        self.dataset = dataset
        self.mouse = mouse
        self.image_size = image_size
        self.seed = seed
        self.depths = depths
        self.directories = find_samples(Path(dataset.dataset_path))
        require_images(self.directories)
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
        inputs = self.drop_views(inputs, key)
        count = self.dataset.num_target_views or len(candidates)
        targets = tuple(sorted(rng.choice(candidates, size=count, replace=False).tolist()))
        background = draw_background(self.dataset.background_color, rng)
        item = load_item(
            sample, inputs, targets, dataset=self.dataset, mouse=self.mouse, size=self.image_size,
            background=background, depths=self.depths,
        )  # fmt: skip
        return replace(item, input=self.disturbed(item.input, background, key))

    def disturbed(self, views: Views, background: Float[Tensor, "3"], key: SampleKey) -> Views:
        """The input views with the configured errors and augmentations, drawn anew each time."""
        stream = lambda kind: np.random.default_rng([self.seed, key.epoch, key.position, kind])  # noqa: E731
        if self.dataset.noise.any:
            views = disturb(views, background, self.dataset.noise, stream(NOISE))
        if self.dataset.augment.any:
            views = augment(views, self.dataset.augment, stream(AUGMENT))
        return views

    def drop_views(self, inputs: tuple[int, ...], key: SampleKey) -> tuple[int, ...]:
        """A subset of the input views, as many as the pass says, ascending; all of them without `min_input_views`."""
        least = self.dataset.min_input_views
        if least is None:
            return inputs
        count = np.random.default_rng([self.seed, key.step, DROP]).integers(least, len(inputs), endpoint=True)
        chosen = np.random.default_rng([self.seed, key.epoch, key.position, DROP])
        return tuple(sorted(chosen.choice(inputs, size=count, replace=False).tolist()))

    def sample(self, index: int) -> Sample:
        """The camera file of a sample, read once."""
        if index not in self._samples:
            self._samples[index] = read_sample(self.directories[index])
        return self._samples[index]

    def __getstate__(self) -> dict[str, Any]:
        """For loading processes, which read camera files for themselves."""
        return self.__dict__ | {"_samples": {}}

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
