"""How a model bears masks and calibrations that are wrong: errors put into what it is given, never into the truth."""

import zlib
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from gslrm.cameras import Cameras, nearest_to_lines, shortest_turn
from gslrm.config import NoiseConfig
from gslrm.data.disturb import draw_growth, move_cameras, move_outline
from gslrm.data.masks import read_view
from gslrm.data.placed_sample import PlacedSample, mask_policy
from gslrm.data.sample import Sample, SampleView
from gslrm.reconstruct import WHITE, Reconstructor
from gslrm.types import Views

MASK_STREAM, CAMERA_STREAM = 0, 1  # of random numbers, so that errors of one kind do not depend on the other's


@dataclass(frozen=True)
class Disturbance:
    """The size of the errors; the same seed draws the same errors at every size."""

    mask_pixels: float = 0.0
    """No outline is off by more, in pixels of the stored pictures, save for the half pixel of drawing it anew. Half of
    it is common to a view, half changes every few pixels along the outline."""
    camera_shift: float = 0.0
    """Standard deviation of cameras' positions along each axis, in units of the sample's world."""
    camera_turn: float = 0.0
    """Standard deviation of cameras' orientations about each axis, in degrees."""
    aimed: bool = False
    """Whether moved cameras turn until the place that all look at is where it was in their pictures, as it is in a
    calibration that was fitted to points there."""
    seed: int = 0

    @property
    def any(self) -> bool:
        """Whether anything is disturbed."""
        return bool(self.mask_pixels or self.camera_shift or self.camera_turn)


@dataclass(frozen=True)
class Received:
    """A sample as a model receives it: the stored pictures and cameras with the errors of a disturbance.

    A view's errors follow from the seed, the sample's name and the view alone: they are the same whichever other views
    are given, and in whichever order.
    """

    reconstructor: Reconstructor
    sample: Sample
    disturbance: Disturbance = Disturbance()
    _views: dict[int, Views] = field(default_factory=dict, repr=False, compare=False)

    def place(self, inputs: tuple[int, ...]) -> PlacedSample:
        """The input views as the network sees them; the placed sample's own cameras and pictures stay the true ones.

        Raises:
            UserError: names the sample, its file and the cure.
        """
        if not self.disturbance.any:
            return self.reconstructor.place(self.sample, inputs)
        received = {index: self.view(index) for index in inputs}
        views = tuple(
            replace(view, camera=received[view.index].cameras[0]) if view.index in received else view
            for view in self.sample.views
        )
        stored = [_premultiplied(received[index]) for index in inputs]
        placed = self.reconstructor.place(replace(self.sample, views=views), inputs, stored=stored)
        return replace(placed, sample=self.sample)

    def view(self, index: int) -> Views:
        """One view [1, ...] at its own size, on white, with its errors.

        Raises:
            UserError: its image or mask is missing or damaged.
        """
        if index not in self._views:
            (view,) = self.sample.select((index,))
            self._views[index] = self._disturbed(view)
        return self._views[index]

    def _disturbed(self, view: SampleView) -> Views:
        policy = mask_policy(self.reconstructor.dataset, self.reconstructor.config.mouse)
        stored = torch.from_numpy(read_view(view, policy)).permute(2, 0, 1)
        image, mask = (stored[:3] + (1 - stored[3:])).clamp(0, 1), stored[3:]
        if self.disturbance.mask_pixels:
            image, mask = self._cut_out(image, mask, self._random(view, MASK_STREAM))
        camera = view.camera
        if self.disturbance.camera_shift or self.disturbance.camera_turn:
            camera = self._moved(camera, self._random(view, CAMERA_STREAM))
        return Views(image[None], mask[None], camera[None])

    def _cut_out(self, image: Tensor, mask: Tensor, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
        size = self.disturbance.mask_pixels
        growth = draw_growth(size / 2, (mask.shape[-2], mask.shape[-1]), rng).clip(-size, size)
        return move_outline(image, mask, WHITE, growth.astype(np.float32), reach=size + 1.5, rng=rng)

    def _moved(self, camera: Cameras, rng: np.random.Generator) -> Cameras:
        size = NoiseConfig(camera_shift=self.disturbance.camera_shift, camera_turn=self.disturbance.camera_turn)
        units = torch.ones(1, 1, dtype=torch.float64)  # shares of one unit are units
        moved = move_cameras(camera[None], size, rng, distance=units)[0]
        return aimed(moved, camera, self._focus()) if self.disturbance.aimed else moved

    def _focus(self) -> Float[Tensor, "3"]:
        poses = torch.stack([view.camera.world_from_camera for view in self.sample.views])
        return nearest_to_lines(poses[:, :3, 3], poses[:, :3, 2])

    def _random(self, view: SampleView, stream: int) -> np.random.Generator:
        name = zlib.crc32(self.sample.name.encode())
        return np.random.default_rng([self.disturbance.seed, name, view.index, stream])


def aimed(moved: Cameras, camera: Cameras, point: Float[Tensor, "3"]) -> Cameras:
    """A moved camera turned until it sees a point in the direction in which `camera` does."""
    direction = torch.nn.functional.normalize(point - camera.position, dim=0)
    pose = moved.world_from_camera.clone()
    seen = pose[:3, :3] @ camera.world_from_camera[:3, :3].mT @ direction
    pose[:3, :3] = shortest_turn(seen, torch.nn.functional.normalize(point - moved.position, dim=0)) @ pose[:3, :3]
    return replace(moved, world_from_camera=pose)


def _premultiplied(view: Views) -> np.ndarray:
    """A view [1] on white as `gslrm.data.masks.read_view` gives it."""
    colour = (view.images[0] - (1 - view.masks[0])).clamp(min=0)
    return torch.cat([colour, view.masks[0]]).permute(1, 2, 0).contiguous().numpy()
