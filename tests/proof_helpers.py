"""Mice photographed right, and the damage that wrong preparations do to such data, as data."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache, partial
from pathlib import Path

import cv2
import numpy as np
import torch

from gslrm.cameras import Cameras
from gslrm.data.images import read_image
from gslrm.data.masks import MaskPolicy, read_view
from gslrm.data.sample import read_sample
from gslrm.data.synthetic_raster import photograph
from gslrm.data.synthetic_scene import sample_scene
from gslrm.data.transforms import HALF, resize
from gslrm.proof import Limits, Proof, prove
from gslrm.tensor_struct import stack

RIG_VIEWS = 6
FINER = 2  # pixels photographed per pixel and axis
MICE = (6, 3, 15, 9)  # with tails that are long enough to be missed, in the middle of the arena
MOUSE_EVAL = Path(__file__).parents[2] / "shared" / "data" / "mouse_eval"
RAW_SIZE = (1152, 1024)  # of the real rig; its pictures are squashed to squares
RAW_SKEW = np.array([-5.8, 1.4, -0.9, -5.9, -1.3, -4.9])  # raw pixels, of the real cameras in the order of mouse_eval
RAW_FOCAL = np.array([1674.2, 1648.6, 1665.1, 1674.2, 1671.9, 1673.1])


@dataclass(frozen=True)
class Shots:
    """Pictures float32 [H, W, 3] on white, masks float32 [H, W] and cameras of one moment."""

    images: tuple[np.ndarray, ...]
    masks: tuple[np.ndarray, ...]
    cameras: tuple[Cameras, ...]

    @property
    def names(self) -> list[str]:
        return [f"Camera{index + 1}" for index in range(len(self.cameras))]

    def prove(self, **options: object) -> Proof:
        return prove(self.names, self.images, self.masks, self.cameras, **options)  # type: ignore[arg-type]

    def redrawn(self, new_from_old: list[np.ndarray]) -> "Shots":
        """Every picture and mask after an affine map [2, 3] of its pixels; cameras stay as they are."""
        pairs = list(zip(self.images, self.masks, new_from_old, strict=True))
        return replace(
            self,
            images=tuple(redraw(image, matrix, fill=1.0) for image, _, matrix in pairs),
            masks=tuple(redraw(mask, matrix, fill=0.0) for _, mask, matrix in pairs),
        )

    def with_masks(self, change: Callable[[int, np.ndarray], np.ndarray]) -> "Shots":
        return replace(self, masks=tuple(change(index, mask) for index, mask in enumerate(self.masks)))

    def with_poses(self, change: Callable[[int, torch.Tensor], torch.Tensor]) -> "Shots":
        """World-from-camera matrices changed one by one."""
        cameras = [
            replace(camera, world_from_camera=change(index, camera.world_from_camera))
            for index, camera in enumerate(self.cameras)
        ]
        return replace(self, cameras=tuple(cameras))

    def with_camera_from_world(self, change: Callable[[torch.Tensor], torch.Tensor]) -> "Shots":
        """What a reader understands when the file's w2c were changed."""
        return self.with_poses(lambda _, pose: torch.linalg.inv(change(torch.linalg.inv(pose))))


@cache
def mouse(seed: int, size: int = 512) -> Shots:
    """A synthetic mouse seen by a rig like the real one."""
    mesh, cameras, _ = sample_scene(np.random.default_rng(MICE[seed]), size=size, extra_views=0, held_out=False)
    finer = stack([resize(cameras[view], width=FINER * size, height=FINER * size) for view in range(RIG_VIEWS)])
    pictures = photograph(mesh, finer, grain_seed=seed)
    shrink = partial(cv2.resize, dsize=(size, size), interpolation=cv2.INTER_AREA)
    return Shots(
        tuple(shrink(picture) for picture in pictures.colour + 1 - pictures.coverage[..., None]),
        tuple(shrink(mask) for mask in pictures.coverage),
        tuple(cameras[view] for view in range(RIG_VIEWS)),
    )


@cache
def real_rig_mouse(index: int, views: int = RIG_VIEWS) -> Shots:
    """A mouse of the evaluation set: the real rig's calibration, exact masks."""
    sample = read_sample(MOUSE_EVAL / f"sample_{index:06d}")
    chosen = sample.views[:views]
    return Shots(
        tuple(read_image(view.image_path)[..., :3] for view in chosen),
        tuple(np.ascontiguousarray(read_view(view, MaskPolicy())[..., 3]) for view in chosen),
        tuple(view.camera for view in chosen),
    )


def redraw(picture: np.ndarray, new_from_old: np.ndarray, *, fill: float) -> np.ndarray:
    """A picture after an affine map [2, 3] of its pixels (corner convention)."""
    height, width = picture.shape[:2]
    matrix = np.linalg.inv(HALF) @ np.vstack([new_from_old, [0, 0, 1]]) @ HALF
    return cv2.warpAffine(picture, matrix[:2], (width, height), borderValue=(fill,) * 3)


def crop_middle_and_invent_intrinsics(shots: Shots) -> Shots:
    """The raw picture's central square, resized; one invented camera for all; the world scaled by one factor."""
    size = shots.cameras[0].width
    squash = RAW_SIZE[0] / RAW_SIZE[1]  # the stored picture is the whole raw one, squashed
    matrix = np.array([[squash, 0, -size * (squash - 1) / 2], [0, 1.0, 0]])
    scale = 2.7 / np.mean([float(camera.position.norm()) for camera in shots.cameras])

    def claim(camera: Cameras) -> Cameras:
        pose = camera.world_from_camera.clone()
        pose[:3, 3] *= scale
        ones = torch.ones(2, dtype=torch.float64)
        return replace(camera, world_from_camera=pose, focal=549 / 512 * size * ones, center=size / 2 * ones)

    return replace(
        shots.redrawn([matrix] * len(shots.cameras)), cameras=tuple(claim(camera) for camera in shots.cameras)
    )


def crop_to_boxes(shots: Shots) -> Shots:
    """Each view's bounding box moved to the middle and scaled to 70 % of the picture; cameras not told."""
    matrices = []
    for mask in shots.masks:
        low, high = box(mask)
        scale = 0.7 * mask.shape[1] / (high - low).max()
        matrices.append(about(scale, (low + high) / 2, mask))
    return shots.redrawn(matrices)


def equalise_areas(shots: Shots) -> Shots:
    """Each view scaled to the same mask area and its centre of mass moved to the middle; cameras not told."""
    wanted = 0.05 * shots.masks[0].size
    return shots.redrawn([about(np.sqrt(wanted / (mask > 0.5).sum()), mass(mask), mask) for mask in shots.masks])


def centre_masses(shots: Shots) -> Shots:
    """Each view shifted by whole pixels until its centre of mass is in the middle; cameras not told."""
    matrices = []
    for mask in shots.masks:
        shift = np.round(np.array(mask.shape[::-1]) / 2 - mass(mask))
        matrices.append(np.column_stack([np.eye(2), shift]))
    return shots.redrawn(matrices)


def equalise_distances(shots: Shots) -> Shots:
    """Each camera moved to distance 2.7 from the world origin, rotation and intrinsics kept."""

    def move(_: int, pose: torch.Tensor) -> torch.Tensor:
        moved = pose.clone()
        moved[:3, 3] *= 2.7 / pose[:3, 3].norm()
        return moved

    return shots.with_poses(move)


FORK_FAULTS = {
    "invented_intrinsics": crop_middle_and_invent_intrinsics,
    "boxes_centred": crop_to_boxes,
    "equal_areas": equalise_areas,
    "masses_centred": centre_masses,
    "equal_distances": equalise_distances,
}


OPENGL = torch.diag(torch.tensor([1.0, -1.0, -1.0, 1.0], dtype=torch.float64))


def transpose_rotations(shots: Shots) -> Shots:
    def change(matrix: torch.Tensor) -> torch.Tensor:
        changed = matrix.clone()
        changed[:3, :3] = matrix[:3, :3].mT
        return changed

    return shots.with_camera_from_world(change)


def shuffle(shots: Shots) -> Shots:
    order = [1, 0, 2, 4, 5, 3]
    return replace(shots, cameras=tuple(shots.cameras[index] for index in order))


def mirror(shots: Shots) -> Shots:
    flip = lambda pictures: tuple(np.ascontiguousarray(picture[:, ::-1]) for picture in pictures)  # noqa: E731
    return replace(shots, images=flip(shots.images), masks=flip(shots.masks))


def keep_intrinsics_of_raw_size(shots: Shots) -> Shots:
    factor = torch.tensor(RAW_SIZE, dtype=torch.float64) / shots.cameras[0].width
    cameras = [replace(camera, focal=camera.focal * factor, center=camera.center * factor) for camera in shots.cameras]
    return replace(shots, cameras=tuple(cameras))


def write_one_in_metres(shots: Shots) -> Shots:
    def change(index: int, pose: torch.Tensor) -> torch.Tensor:
        changed = pose.clone()
        changed[:3, 3] *= 1e-3 if index == 3 else 1.0
        return changed

    return shots.with_poses(change)


def bump(shots: Shots, view: int, degrees: float, axis: tuple[float, float, float] = (1.0, 0.0, 0.0)) -> Shots:
    """One camera turned about an axis of its own."""
    turn = torch.eye(4, dtype=torch.float64)
    vector = np.radians(degrees) * np.array(axis) / np.linalg.norm(axis)
    turn[:3, :3] = torch.from_numpy(cv2.Rodrigues(vector)[0])
    return shots.with_poses(lambda index, pose: pose @ turn if index == view else pose)


def shift_center(shots: Shots, view: int, shift: tuple[float, float]) -> Shots:
    cameras = list(shots.cameras)
    cameras[view] = replace(cameras[view], center=cameras[view].center + torch.tensor(shift, dtype=torch.float64))
    return replace(shots, cameras=tuple(cameras))


def drop_skew(shots: Shots) -> Shots:
    """Pictures of cameras with skew, stored as if they had none."""
    matrices = []
    for camera, skew, focal in zip(shots.cameras, RAW_SKEW, RAW_FOCAL, strict=True):
        slope = skew / focal * RAW_SIZE[1] / RAW_SIZE[0]
        matrices.append(np.array([[1, slope, -slope * float(camera.center[1])], [0, 1, 0]]))
    return shots.redrawn(matrices)


OTHER_FAULTS = {
    "order": shuffle,
    "inverted": lambda shots: shots.with_camera_from_world(torch.linalg.inv),
    "transposed": transpose_rotations,
    "opengl": lambda shots: shots.with_camera_from_world(lambda matrix: OPENGL @ matrix),
    "inverted_opengl": lambda shots: shots.with_camera_from_world(lambda matrix: torch.linalg.inv(OPENGL @ matrix)),
    "mirrored": mirror,
    "resized": keep_intrinsics_of_raw_size,
    "unit": write_one_in_metres,
    "turned": lambda shots: bump(shots, 2, 3.0, (1.0, 1.0, 0.3)),
}


def ragged(shots: Shots, seed: int, *, sigma: float = 0.7, bias: float = 0.7, tails: int = 0) -> Shots:
    """Masks as a person or a network draws them.

    The outline wanders by `sigma` px of a picture 512 wide, each mask is too wide or too narrow by up to `bias` px, and
    `tails` of them lack the tail. The defaults make an IoU of 0.95.
    """
    rng = np.random.default_rng(seed)
    without_tail = set(rng.permutation(len(shots.masks))[:tails].tolist())

    def draw(index: int, mask: np.ndarray) -> np.ndarray:
        unit = mask.shape[1] / 512
        drawn = _wander(mask, rng, sigma=sigma * unit, bias=rng.uniform(-bias, bias) * unit, unit=unit)
        return cut_thin(drawn, unit) if index in without_tail else drawn

    return shots.with_masks(draw)


def _wander(mask: np.ndarray, rng: np.random.Generator, *, sigma: float, bias: float, unit: float) -> np.ndarray:
    inside = (mask > 0.5).astype(np.uint8)
    distance = [cv2.distanceTransform(part, cv2.DIST_L2, 5) - 0.5 for part in (inside, 1 - inside)]
    noise = cv2.GaussianBlur(rng.standard_normal(mask.shape).astype(np.float32), (0, 0), 6 * unit)
    field = np.where(inside > 0, distance[0], -distance[1]) + noise * (sigma / noise.std()) + bias
    return np.clip(field + 0.5, 0, 1).astype(np.float32)


def cut_thin(mask: np.ndarray, unit: float = 1.0) -> np.ndarray:
    """The mask without what is thinner than 17 px: most of the tail."""
    inside = (mask > 0.5).astype(np.uint8)
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * round(8 * unit) + 1,) * 2)
    body = cv2.dilate(cv2.morphologyEx(inside, cv2.MORPH_OPEN, disc), np.ones((5, 5)))
    return np.where(body > 0, mask, 0).astype(np.float32)


def iou(first: np.ndarray, second: np.ndarray) -> float:
    first, second = first > 0.5, second > 0.5
    return float((first & second).sum() / (first | second).sum())


def box(mask: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    rows, columns = np.nonzero(mask > 0.5)
    return np.array([columns.min(), rows.min()], float), np.array([columns.max() + 1, rows.max() + 1], float)


def mass(mask: np.ndarray) -> np.ndarray:
    rows, columns = np.nonzero(mask > 0.5)
    return np.array([columns.mean(), rows.mean()]) + 0.5


def about(scale: float, point: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """The affine map that scales and brings a point to the middle of the picture."""
    return np.column_stack([scale * np.eye(2), np.array(mask.shape[::-1]) / 2 - scale * point])


def limits_without_figures() -> Limits:
    """Limits that judge geometry only."""
    return Limits(clipped=1.0, exposure=1e9, sharpness=0.0, largest_share=1.0)
