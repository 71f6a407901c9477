"""The stages of CPU rasterization and of its gradients, on numpy arrays."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from gslrm.compiled import run_workers
from gslrm.render.cpu_blending import blend
from gslrm.render.cpu_blending_backward import MOMENTS, unblend
from gslrm.render.cpu_blocks import CHANNELS, MAX_LIST, PIXEL_STATES, TILE
from gslrm.render.cpu_projection import CHUNK, SPLAT_SIZE, VIEW_MARGIN, project
from gslrm.render.cpu_projection_backward import CAMERA_GRADIENT, unproject
from gslrm.render.cpu_tiles import list_tiles

# Gradient rows of as many cameras as fit are held at a time. Below 32 MiB glibc recycles memory instead of asking the
# kernel for fresh, page-faulting pages.
GRADIENT_BUFFER_BYTES = 16 * 2**20


@dataclass(frozen=True)
class Settings:
    """What a rasterization does not differentiate through; the names are those of `rasterization`."""

    width: int
    height: int
    near_plane: float
    far_plane: float
    eps2d: float
    max_alpha: float
    antialiased: bool
    min_compensation: float
    with_colors: bool
    with_depth: bool
    depth_over_alpha: bool

    @property
    def tiles(self) -> tuple[float, int, int]:
        """Reciprocal of the tile size, tiles in x, tiles in y."""
        return 1.0 / TILE, -(-self.width // TILE), -(-self.height // TILE)

    def expected_channel(self, channels: int) -> int:
        """The channel of `channels` that holds the expected depth; -1 for none."""
        return channels - 1 if self.depth_over_alpha else -1

    @property
    def projection(self) -> tuple[float, float, float, float, float, bool, float]:
        """The settings of the projection kernels, in their order."""
        size = (float(self.width), float(self.height))
        return (*size, self.near_plane, self.far_plane, self.eps2d, self.antialiased, self.min_compensation)


class Scene(NamedTuple):
    """Inputs; colours are [1 or C, N, D], or [1, N, 0] where only depth is rendered."""

    means: np.ndarray
    quats: np.ndarray
    scales: np.ndarray
    opacities: np.ndarray
    colors: np.ndarray
    backgrounds: np.ndarray  # [C, D padded as the features]
    cameras: np.ndarray  # see camera_rows


class Splats(NamedTuple):
    """What the gradients need; see the kernels `project`, `list_tiles` and `blend`."""

    splats: np.ndarray
    features: np.ndarray
    tile_counts: np.ndarray
    camera_starts: np.ndarray
    tile_starts: np.ndarray
    entries: np.ndarray
    pair_starts: np.ndarray
    places: np.ndarray
    pixel_states: np.ndarray


class Gradients(NamedTuple):
    """Gradients of the inputs of the same name; of colours as [1 or C, N, D], of cameras as viewmats [C,4,4]."""

    means: np.ndarray
    quats: np.ndarray
    scales: np.ndarray
    opacities: np.ndarray
    colors: np.ndarray
    viewmats: np.ndarray


def camera_rows(viewmats: np.ndarray, intrinsics: np.ndarray, width: int, height: int) -> np.ndarray:
    """Rotation, translation, focal lengths, centre and slope limits of each camera as one float64 row."""
    viewmats, intrinsics = viewmats.astype(np.float64), intrinsics.astype(np.float64)
    size = np.array([width, height], np.float64)
    focal, center = intrinsics[:, (0, 1), (0, 1)], intrinsics[:, :2, 2]
    margin = VIEW_MARGIN * 0.5 * size / focal
    limits = np.stack([-(center / focal + margin), (size - center) / focal + margin], axis=-1)
    rotations, translations = viewmats[:, :3, :3].reshape(-1, 9), viewmats[:, :3, 3]
    return np.concatenate([rotations, translations, focal, center, limits.reshape(-1, 4)], axis=1)


def feature_count(channels: int) -> int:
    """Channels padded to whole groups, of which there is at least one."""
    return max(1, -(-channels // CHANNELS)) * CHANNELS


def render(scene: Scene, settings: Settings) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, Splats]:
    """Images [C,H,W,X], alphas [C,H,W,1], radii [C,N,2], depths [C,N] and what the gradients need."""
    shape, dtype = (scene.cameras.shape[0], scene.means.shape[0]), scene.means.dtype
    channels = scene.colors.shape[2] + settings.with_depth
    splats, features = np.empty((*shape, SPLAT_SIZE), dtype), np.empty((*shape, feature_count(channels)), dtype)
    depths, radii = np.empty(shape, dtype), np.empty((*shape, 2), np.int32)
    tile_counts = np.empty(shape, np.int32)
    run_workers(
        project, scene[:5], scene.cameras, settings.projection, settings.with_depth, settings.tiles,
        (splats, features, depths, radii, tile_counts),
    )  # fmt: skip
    lists = _list_tiles(splats, depths, tile_counts, settings)

    image_shape = (shape[0], settings.height, settings.width)
    images, alphas = np.empty((*image_shape, channels), dtype), np.empty((*image_shape, 1), dtype)
    pixel_states = np.empty((lists[1].size - 1, PIXEL_STATES), dtype)
    state = Splats(splats, features, tile_counts, *lists, pixel_states)
    run_workers(
        blend, _schedule(state, 0, shape[0]), splats, features, (state.tile_starts, state.entries), settings.tiles,
        dtype.type(settings.max_alpha), settings.expected_channel(channels), scene.backgrounds, images, alphas,
        pixel_states,
    )  # fmt: skip
    return images, alphas, radii, depths, state


def _list_tiles(
    splats: np.ndarray, depths: np.ndarray, tile_counts: np.ndarray, settings: Settings
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Camera starts, tile starts, entries, pair starts and places."""
    camera_starts = np.concatenate([[0], np.cumsum(tile_counts.sum(axis=1, dtype=np.int64))])
    if np.diff(camera_starts).max() > np.iinfo(np.int32).max:
        raise ValueError("the Gaussians are too large for the image: more than 2^31 (Gaussian, tile) pairs in one view")
    _, tiles_x, tiles_y = settings.tiles
    tile_starts = np.empty(depths.shape[0] * tiles_x * tiles_y + 1, np.int64)
    tile_starts[-1] = camera_starts[-1]
    entries, pair_starts = np.empty(camera_starts[-1], np.int32), np.empty(depths.shape, np.int32)
    places = np.empty_like(entries)
    run_workers(
        list_tiles,
        splats,
        depths,
        tile_counts,
        settings.tiles,
        camera_starts,
        tile_starts,
        entries,
        pair_starts,
        places,
    )
    if np.diff(tile_starts).max() >= MAX_LIST:
        raise ValueError(f"more than {MAX_LIST} Gaussians overlap one tile of {TILE} x {TILE} pixels")
    return camera_starts, tile_starts, entries, pair_starts, places


def _schedule(state: Splats, first_camera: int, last_camera: int) -> np.ndarray:
    """Tiles of a range of cameras, longest list first: dealt out in turn, they load the threads evenly."""
    per_camera = (state.tile_starts.size - 1) // (state.camera_starts.size - 1)
    lengths = np.diff(state.tile_starts[first_camera * per_camera : last_camera * per_camera + 1])
    return np.argsort(-lengths, kind="stable") + first_camera * per_camera


def _camera_ranges(camera_starts: np.ndarray, rows: int) -> Iterator[tuple[int, int]]:
    """Consecutive cameras with at most `rows` (Gaussian, tile) pairs together, or one camera that has more."""
    first, count = 0, camera_starts.size - 1
    while first < count:
        last = first + 1
        while last < count and camera_starts[last + 1] - camera_starts[first] <= rows:
            last += 1
        yield first, last
        first = last


def differentiate(
    scene: Scene, state: Splats, settings: Settings, images: np.ndarray, v_images: np.ndarray, v_alphas: np.ndarray,
    *, with_cameras: bool,
) -> Gradients:  # fmt: skip
    """Gradients of all inputs but the backgrounds; those of the cameras are 0 unless asked for."""
    cameras, count = state.tile_counts.shape
    dtype = scene.means.dtype
    gaussians = scene[:4]
    v_means, v_quats, v_scales, v_opacities, v_colors = (np.zeros_like(array) for array in scene[:5])
    v_cameras = np.zeros((-(-count // CHUNK), cameras, CAMERA_GRADIENT))
    row_size = MOMENTS + state.features.shape[2]
    ranges = list(_camera_ranges(state.camera_starts, GRADIENT_BUFFER_BYTES // (row_size * dtype.itemsize)))
    most_rows = max(state.camera_starts[last] - state.camera_starts[first] for first, last in ranges)
    buffer = np.empty((most_rows, row_size), dtype)
    for first, last in ranges:
        first_row = state.camera_starts[first]
        v_splats = buffer[: state.camera_starts[last] - first_row]
        run_workers(
            unblend, _schedule(state, first, last), state.splats, state.features, (state.tile_starts, state.entries),
            first_row, settings.tiles, dtype.type(settings.max_alpha), settings.expected_channel(images.shape[3]),
            images, scene.backgrounds, state.pixel_states, v_images, v_alphas, v_splats,
        )  # fmt: skip
        run_workers(
            unproject, (first, last), gaussians, scene.cameras, settings.projection, settings.with_depth,
            (state.camera_starts, state.pair_starts, state.places), state.tile_counts, first_row, v_splats,
            (v_means, v_quats, v_scales, v_opacities), v_colors, with_cameras, v_cameras,
        )  # fmt: skip
    return Gradients(v_means, v_quats, v_scales, v_opacities, v_colors, _viewmats_gradient(v_cameras).astype(dtype))


def _viewmats_gradient(v_cameras: np.ndarray) -> np.ndarray:
    """Sum the partial sums of all chunks of Gaussians, in order, into [C,4,4]."""
    total = v_cameras.sum(axis=0)
    gradient = np.zeros((total.shape[0], 4, 4))
    gradient[:, :3, :3] = total[:, :9].reshape(-1, 3, 3)
    gradient[:, :3, 3] = total[:, 9:]
    return gradient
