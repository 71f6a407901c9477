"""Rays of mask pixels through the space that other views' masks leave, with raw lens-distorted cameras.

Rays advance by what the distance to the other masks allows (Hart's sphere tracing, 1996). Projections come from a table
over the scene's cube: they are smooth, so 24 nodes a side give a fifth of a pixel, whatever the lens.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import torch
from jaxtyping import Bool, Float

from gslrm.compiled import kernel
from gslrm.data.rig import RigCamera, directions_world
from gslrm.data.sightings import Sighting, find_object, outline

LATTICE = 2  # every second pixel in each direction casts a ray
DEEP = 12  # pixels inside the outline from which every second of those does
NODES = 24
REACH = 0.75  # of the object's diameter, from its middle to the faces of the scene's cube
TOLERANCE = 2.0  # pixels: outlines of different views never agree better
CAUTION = 0.8  # of the free distance that a ray advances: scales change along the way
RAY_GRID = 16  # pixels between the rays that are computed; those between are interpolated
OUTLINE_STEP = 4


@dataclass(frozen=True)
class Scene:
    """Masks and cameras around one object.

    `corner` and `side` are the cube that is searched, in the world's unit. `table` [n, n, n, V, 3] holds, at the cube's
    nodes (x, y, z), raw pixel x, y and the world's length of a pixel; NaN where a camera has no picture of a node.
    `distance` [V, H, W] is how far each pixel lies from the mask, less than 0 within. `thickness` is the radius of the
    largest disc within a mask, in the world's unit, the median of the views.
    """

    cameras: tuple[RigCamera, ...]
    masks: tuple[np.ndarray, ...]
    corner: Float[np.ndarray, "3"]
    side: float
    table: Float[np.ndarray, "n n n v 3"]
    distance: Float[np.ndarray, "v h w"]
    sizes: np.ndarray
    thickness: float

    @property
    def lattice_shape(self) -> tuple[int, int, int]:
        """Views, rows and columns of the pixels that cast rays."""
        views, height, width = self.distance.shape
        return views, -(-height // LATTICE), -(-width // LATTICE)

    def thickness_seen(self, view: int) -> float:
        """The object's thickness in pixels of a view."""
        camera = self.cameras[view]
        away = np.linalg.norm(self.corner + self.side / 2 - camera.position)
        return float(self.thickness * _focal(camera) / away)


def scene_of(coverages: Sequence[Float[np.ndarray, "_ _"]], cameras: Sequence[RigCamera]) -> Scene:
    """The scene around what masks show; none may be empty.

    Raises:
        UserError: the masks do not show one object at one place.
    """
    sightings = [
        Sighting(
            torch.from_numpy(np.linalg.inv(camera.camera_from_world)),
            directions_world(camera, outline(coverage)[::OUTLINE_STEP]),
        )
        for coverage, camera in zip(coverages, cameras, strict=True)
    ]
    found = find_object(sightings)
    half = REACH * found.diameter
    corner = found.center.numpy() - half
    sizes = np.array([coverage.shape for coverage in coverages], np.int64)
    distance = np.zeros((len(coverages), *sizes.max(axis=0)), np.float32)
    thickness = np.zeros(len(coverages))
    for place, (coverage, camera) in enumerate(zip(coverages, cameras, strict=True)):
        height, width = coverage.shape
        solid = (coverage > 0.5).astype(np.uint8)
        inside = cv2.distanceTransform(solid, cv2.DIST_L2, 5)
        distance[place, :height, :width] = cv2.distanceTransform(1 - solid, cv2.DIST_L2, 5) - inside
        thickness[place] = inside.max() * np.linalg.norm(found.center.numpy() - camera.position) / _focal(camera)
    table = np.stack([_projections(camera, corner, 2 * half) for camera in cameras], axis=3)
    masks = tuple(coverage > 0.5 for coverage in coverages)
    return Scene(tuple(cameras), masks, corner, 2 * half, table, distance, sizes, float(np.median(thickness)))


def cast(
    scene: Scene, view: int, pixels: Bool[np.ndarray, "h w"], demands: np.ndarray | None = None, *, tolerated: int = 0
) -> np.ndarray:
    """How many other views contradict lattice pixels of a view, at the best point of each ray.

    Args:
        scene: masks and cameras.
        view: whose rays.
        pixels: where to cast; only lattice pixels count.
        demands: [V, H/2, W/2] int64, where bit `view` is set in each dissenter at the best points of a ray that 1 to
            `tolerated` contradict. None: nothing is entered.
        tolerated: see `demands`.

    Returns:
        int64 [H/2, W/2] of the padded pictures, -1 where no ray was cast.
    """
    rim = cv2.erode(scene.masks[view].astype(np.uint8), np.ones((2 * DEEP + 1, 2 * DEEP + 1), np.uint8)) == 0
    chosen = pixels & rim
    chosen[:: 2 * LATTICE, :: 2 * LATTICE] = pixels[:: 2 * LATTICE, :: 2 * LATTICE]
    cells = np.argwhere(chosen[::LATTICE, ::LATTICE])
    contradicted = np.full(scene.lattice_shape[1:], -1, np.int64)
    if len(cells):
        least = np.zeros(len(cells), np.int64)
        entered = np.zeros((1, 1, 1), np.int64) if demands is None else demands
        _cast_kernel(
            *(*_rays(scene, view, cells), scene.table, scene.distance, scene.sizes),
            *(view, 0 if demands is None else tolerated, entered, least),
        )
        contradicted[tuple(cells.T)] = least
    return contradicted


def depth(scene: Scene, view: int, chosen: Bool[np.ndarray, "h w"]) -> np.ndarray:
    """How deep within all other masks the rays of lattice cells get, in shares of the object's thickness.

    A visual hull is larger than its object, but that excess is shallow; deep inside there is flesh.

    Returns:
        float32 of the lattice's shape, 0 where no ray was cast or it gets inside nowhere.
    """
    cells = np.argwhere(chosen)
    found = np.zeros(chosen.shape, np.float32)
    if len(cells):
        deepest = np.zeros(len(cells), np.float32)
        _depth_kernel(*_rays(scene, view, cells), scene.table, scene.distance, scene.sizes, view, deepest)
        found[tuple(cells.T)] = deepest / np.float32(scene.thickness)
    return found


def _rays(scene: Scene, view: int, cells: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Rays [n, 6] in units of the table's cells, and where they enter and leave the cube, in the world's unit."""
    camera = scene.cameras[view]
    directions = _directions(camera, cells[:, ::-1] * LATTICE + 0.5)
    start = camera.position - scene.corner
    enter, leave = _clip(start, directions, scene.side)
    rays = np.concatenate([np.broadcast_to(start, directions.shape), directions], axis=1)
    return rays * ((NODES - 1) / scene.side), enter, leave


def _focal(camera: RigCamera) -> float:
    return float(max(camera.intrinsics[0, 0], camera.intrinsics[1, 1]))


def _projections(camera: RigCamera, corner: np.ndarray, side: float) -> np.ndarray:
    """Raw pixel and the world's length of a pixel at the nodes of the cube, float32 [n, n, n, 3]."""
    axes = [corner[k] + np.linspace(0, side, NODES) for k in range(3)]
    nodes = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1)
    pixel = camera.project(nodes)
    away = np.linalg.norm(nodes - camera.position, axis=-1)
    return np.concatenate([pixel, (away / _focal(camera))[..., None]], axis=-1).astype(np.float32)


def _directions(camera: RigCamera, pixel: Float[np.ndarray, "n 2"]) -> Float[np.ndarray, "n 3"]:
    """Directions in world axes through raw pixels, bilinear between rays of a grid."""
    low = np.floor(pixel.min(axis=0) / RAY_GRID)
    columns, rows = (np.ceil(pixel.max(axis=0) / RAY_GRID) - low + 1).astype(int)
    corners = (np.stack(np.meshgrid(np.arange(columns), np.arange(rows)), axis=-1) + low) * RAY_GRID
    grid = camera.rays(corners.astype(np.float64)) @ camera.camera_from_world[:3, :3]
    place = pixel / RAY_GRID - low
    cell = np.minimum(place.astype(int), [max(columns - 2, 0), max(rows - 2, 0)])
    (share_x, share_y), (x, y) = (place - cell).T[..., None], cell.T
    right, below = np.minimum(x + 1, columns - 1), np.minimum(y + 1, rows - 1)
    top = grid[y, x] * (1 - share_x) + grid[y, right] * share_x
    bottom = grid[below, x] * (1 - share_x) + grid[below, right] * share_x
    return top * (1 - share_y) + bottom * share_y


def _clip(start: np.ndarray, direction: np.ndarray, side: float) -> tuple[np.ndarray, np.ndarray]:
    """Where rays enter and leave the cube; one that misses it, or is no ray, leaves before it enters."""
    safe = np.where(np.abs(direction) < 1e-12, 1e-12, direction)
    faces = np.stack([-start / safe, (side - start) / safe])
    enter, leave = faces.min(axis=0).max(axis=1), faces.max(axis=0).min(axis=1)
    return np.maximum(enter, 0), np.where(np.isfinite(leave), leave, -1.0)


@kernel
def _ask(ray, along, table, distance, sizes, view, gap, miss, place):
    """Fill in where each other view sees a point of a ray, how far (world) from its mask, and beyond the tolerance.

    Returns how many do, and the least length of a pixel among those that see it (0: none does).
    """
    last = table.shape[0] - 2
    at_x, at_y, at_z = ray[0] + along * ray[3], ray[1] + along * ray[4], ray[2] + along * ray[5]
    i, j, k = min(max(int(at_x), 0), last), min(max(int(at_y), 0), last), min(max(int(at_z), 0), last)
    at_x, at_y, at_z = at_x - i, at_y - j, at_z - k
    near_near, near_far = (1 - at_x) * (1 - at_y), (1 - at_x) * at_y
    far_near, far_far = at_x * (1 - at_y), at_x * at_y
    dissenters, smallest = 0, 0.0
    for other in range(table.shape[3]):
        if other == view:
            continue
        for axis in range(3):
            low = near_near * table[i, j, k, other, axis] + near_far * table[i, j + 1, k, other, axis]
            low += far_near * table[i + 1, j, k, other, axis] + far_far * table[i + 1, j + 1, k, other, axis]
            high = near_near * table[i, j, k + 1, other, axis] + near_far * table[i, j + 1, k + 1, other, axis]
            high += far_near * table[i + 1, j, k + 1, other, axis] + far_far * table[i + 1, j + 1, k + 1, other, axis]
            place[other, axis] = low + at_z * (high - low)
        x, y, unit = place[other, 0], place[other, 1], place[other, 2]
        gap[other], miss[other] = 0.0, -np.inf
        if not (0 <= x < sizes[other, 1] and 0 <= y < sizes[other, 0]):
            continue
        smallest = unit if smallest == 0 else min(smallest, unit)
        miss[other] = distance[other, int(y), int(x)] * unit
        gap[other] = max(miss[other] - TOLERANCE * unit, 0.0)
        dissenters += gap[other] > 0
    return dissenters, smallest


@kernel
def _advance(gap, count):
    """The `count`-th smallest gap above 0: before that length, fewer than `count` dissenters can agree."""
    length = 0.0
    for _ in range(count):
        nearest = np.inf
        for other in range(len(gap)):
            if length < gap[other] < nearest:
                nearest = gap[other]
        if nearest < np.inf:  # equal gaps count once: too short an advance is safe
            length = nearest
    return length


@kernel
def _fewest(ray, enter, leave, table, distance, sizes, view, gap, miss, place):
    """The fewest dissenters at any point of a ray; all views where it misses the cube, 0 where nobody else sees it."""
    least, along = table.shape[3], enter
    while along <= leave and least > 0:
        dissenters, smallest = _ask(ray, along, table, distance, sizes, view, gap, miss, place)
        if smallest == 0:
            return 0
        least = min(least, dissenters)
        along += max(CAUTION * _advance(gap, dissenters - least + 1), smallest) if dissenters else smallest
    return least


@kernel
def _cast_kernel(rays, enter, leave, table, distance, sizes, view, tolerated, demands, least_of_ray):
    gap, miss, place = np.zeros(table.shape[3]), np.full(table.shape[3], -np.inf), np.zeros((table.shape[3], 3))
    for number in range(len(rays)):
        ray = rays[number]
        least = _fewest(ray, enter[number], leave[number], table, distance, sizes, view, gap, miss, place)
        along = enter[number]
        while 0 < least <= tolerated and along <= leave[number]:
            dissenters, smallest = _ask(ray, along, table, distance, sizes, view, gap, miss, place)
            if smallest == 0:
                least = 0
            for other in range(len(gap)):
                if gap[other] > 0 and dissenters == least:
                    row, column = int(place[other, 1]) // LATTICE, int(place[other, 0]) // LATTICE
                    demands[other, row, column] |= 1 << view
            along += smallest
        least_of_ray[number] = least


@kernel
def _depth_kernel(rays, enter, leave, table, distance, sizes, view, deepest):
    gap, miss, place = np.zeros(table.shape[3]), np.full(table.shape[3], -np.inf), np.zeros((table.shape[3], 3))
    for number in range(len(rays)):
        best, along = 0.0, enter[number]
        while along <= leave[number]:
            _, smallest = _ask(rays[number], along, table, distance, sizes, view, gap, miss, place)
            if smallest == 0:
                break
            inside = -miss.max()
            best = max(best, inside)
            along += max(CAUTION * (best - inside), LATTICE * smallest)
        deepest[number] = best
