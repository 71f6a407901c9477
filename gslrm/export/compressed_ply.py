"""Gaussians in the compressed .ply of PlayCanvas (as written by SuperSplat).

Blocks of 256 Gaussians share the ranges of position, log-scale and colour, within which each is rounded: 16 bytes per
Gaussian, and one byte for each higher harmonic.
"""

from pathlib import Path

import numpy as np
import torch

from gslrm import harmonics as sh
from gslrm.errors import UserError
from gslrm.export.files import AnyPath, replacing
from gslrm.export.ply_header import Element, read_header, read_tables
from gslrm.export.quaternions import from_smallest_three, smallest_three
from gslrm.export.scene import MIN_SCALE, as_read, one_scene, spatial_order, to_levels
from gslrm.types import Gaussians

BLOCK = 256
WORDS = ("packed_position", "packed_rotation", "packed_scale", "packed_color")
AXIS_BITS = (11, 10, 11)  # x, y, z of positions and scales in one word
MAX_LOG_SCALE = 20.0
HARMONIC_RANGE = 8.0  # bytes span [-4, 4]
_PROPERTIES = {"position": ("x", "y", "z"), "scale": ("scale_x", "scale_y", "scale_z"), "colour": ("r", "g", "b")}
RANGES = tuple(f"{end}_{axis}" for axes in _PROPERTIES.values() for end in ("min", "max") for axis in axes)


def write_compressed_ply(gaussians: Gaussians, path: AnyPath) -> None:
    """Write Gaussians `[N]` as a compressed .ply, in an order that keeps the blocks small in space.

    Raises:
        ValueError: the Gaussians are batched or hold NaN or infinity.
    """
    gaussians = one_scene(gaussians, path)
    gaussians = gaussians[spatial_order(gaussians.means)]
    properties = {
        "position": gaussians.means.numpy(),
        "scale": gaussians.scales.clamp_min(MIN_SCALE).log().clamp(-MAX_LOG_SCALE, MAX_LOG_SCALE).numpy(),
        "colour": sh.rgb_from_degree_0(gaussians.harmonics[:, 0]).numpy(),
    }
    ranges = {name: _ranges(values) for name, values in properties.items()}
    units = {name: _within(values, *ranges[name]) for name, values in properties.items()}
    chunks = np.concatenate([end for name in _PROPERTIES for end in ranges[name]], axis=1).astype("<f4")
    words = [
        _pack(units["position"], AXIS_BITS),
        _pack_rotations(gaussians.rotations.double().numpy()),
        _pack(units["scale"], AXIS_BITS),
        _pack(np.concatenate([units["colour"], gaussians.opacities[:, None].numpy()], axis=1), (8, 8, 8, 8)),
    ]
    rest = gaussians.harmonics[:, 1:].mT.flatten(1).double().numpy() / HARMONIC_RANGE + 0.5
    with replacing(path) as temporary, temporary.open("wb") as file:
        file.write(_header(len(chunks), *rest.shape).encode("ascii"))
        file.write(chunks.tobytes())
        file.write(np.stack(words, axis=1).astype("<u4").tobytes())
        file.write(np.clip(np.floor(rest * 256), 0, 255).astype(np.uint8).tobytes())


def read_compressed_ply(path: AnyPath) -> Gaussians:
    """Read a compressed .ply, with or without the ranges of colour that older files lack.

    Raises:
        UserError: the file is missing, damaged or no compressed .ply.
    """
    path = Path(path)
    try:
        with path.open("rb") as file:
            elements = read_header(file, path)
            _check(elements, path)
            tables = read_tables(file, elements)
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}") from error
    vertices, chunks = tables["vertex"], tables["chunk"]
    block = np.arange(len(vertices)) // BLOCK
    means = _spread(_unpack(vertices["packed_position"], AXIS_BITS), chunks[block], _PROPERTIES["position"])
    scales = _spread(_unpack(vertices["packed_scale"], AXIS_BITS), chunks[block], _PROPERTIES["scale"])
    rgba = _unpack(vertices["packed_color"], (8, 8, 8, 8))
    colour = rgba[:, :3]
    if "min_r" in (chunks.dtype.names or ()):
        colour = _spread(colour, chunks[block], _PROPERTIES["colour"])
    base = sh.degree_0_from_rgb(torch.from_numpy(colour))[:, None]
    gaussians = Gaussians(
        means=torch.from_numpy(means),
        scales=torch.from_numpy(scales).exp(),
        rotations=torch.from_numpy(_unpack_rotations(vertices["packed_rotation"])),
        opacities=torch.from_numpy(rgba[:, 3].copy()),
        harmonics=torch.cat([base, torch.from_numpy(_rest(tables.get("sh"), len(vertices)))], dim=1),
    )
    return as_read(gaussians, path)


def _ranges(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Least and greatest value of each block [blocks, 3] in float32, as the file will hold them."""
    starts = np.arange(0, len(values), BLOCK)
    if not len(starts):
        return np.zeros((0, 3), np.float32), np.zeros((0, 3), np.float32)
    return np.minimum.reduceat(values, starts), np.maximum.reduceat(values, starts)


def _within(values: np.ndarray, low: np.ndarray, high: np.ndarray) -> np.ndarray:
    """Where in the range of its block each value lies, in [0, 1]."""
    block = np.arange(len(values)) // BLOCK
    span = (high - low)[block].astype(np.float64)
    return np.divide(values - low[block], span, out=np.zeros_like(span), where=span > 0)


def _spread(units: np.ndarray, chunks: np.ndarray, axes: tuple[str, ...]) -> np.ndarray:
    low, high = (
        np.stack([chunks[f"{end}_{axis}"] for axis in axes], axis=1).astype(np.float64) for end in ("min", "max")
    )
    return low + units * (high - low)


def _pack(units: np.ndarray, bits: tuple[int, ...]) -> np.ndarray:
    word = np.zeros(len(units), np.uint32)
    for column, size in enumerate(bits):
        word = word << np.uint32(size) | to_levels(units[:, column], 2**size - 1)
    return word


def _unpack(word: np.ndarray, bits: tuple[int, ...]) -> np.ndarray:
    columns, shift = [], 0
    for size in reversed(bits):
        columns.append((word >> np.uint32(shift) & np.uint32(2**size - 1)) / (2**size - 1))
        shift += size
    return np.stack(columns[::-1], axis=1)


def _pack_rotations(quaternions: np.ndarray) -> np.ndarray:
    """Index of the largest component of wxyz in 2 bits, the others in 10 each."""
    largest, others = smallest_three(quaternions)
    return largest.astype(np.uint32) << np.uint32(30) | _pack(others / 2 + 0.5, (10, 10, 10))


def _unpack_rotations(word: np.ndarray) -> np.ndarray:
    return from_smallest_three((word >> np.uint32(30)).astype(np.int64), 2 * _unpack(word, (10, 10, 10)) - 1)


def _rest(table: np.ndarray | None, count: int) -> np.ndarray:
    """Higher harmonics [n, k - 1, 3]; a byte stands for the middle of its level, its ends for the ends."""
    if table is None:
        return np.zeros((count, 0, 3))
    levels = np.stack([table[f"f_rest_{i}"] for i in range(len(table.dtype.names or ()))], axis=1)
    units = np.where(levels == 0, 0.0, np.where(levels == 255, 1.0, (levels + 0.5) / 256))
    return ((units - 0.5) * HARMONIC_RANGE).reshape(count, 3, levels.shape[1] // 3).swapaxes(1, 2)


def _header(blocks: int, count: int, harmonics: int) -> str:
    lines = ["ply", "format binary_little_endian 1.0", f"element chunk {blocks}"]
    lines += [f"property float {name}" for name in RANGES]
    lines += [f"element vertex {count}", *(f"property uint {name}" for name in WORDS)]
    if harmonics:
        lines += [f"element sh {count}", *(f"property uchar f_rest_{i}" for i in range(harmonics))]
    return "\n".join([*lines, "end_header\n"])


def _check(elements: list[Element], path: Path) -> None:
    found = {element.name: element for element in elements}
    needed = {"chunk": RANGES[:12], "vertex": WORDS}
    for name, columns in needed.items():
        if name not in found or not set(columns) <= set(found[name].properties):
            raise UserError(f"{path} is no compressed .ply: its {name} lacks {', '.join(columns)}; give another file")
    colour = set(RANGES[12:]) & set(found["chunk"].properties)
    if colour and colour != set(RANGES[12:]):
        raise UserError(
            f"{path} is damaged: of the ranges of colour it has only {', '.join(sorted(colour))}; copy it again"
        )
    count = found["vertex"].count
    if found["chunk"].count * BLOCK < count:
        raise UserError(
            f"{path} is damaged: {found['chunk'].count} blocks cannot hold {count} Gaussians; copy it again"
        )
    if "sh" not in found:
        return
    allowed = [3 * (sh.coefficient_count(degree) - 1) for degree in range(1, sh.MAX_DEGREE + 1)]
    names = found["sh"].properties
    regular = found["sh"].dtype == np.dtype([(f"f_rest_{i}", "u1") for i in range(len(names))])
    if len(names) not in allowed or found["sh"].count != count or not regular:
        raise UserError(f"{path} is damaged: its harmonics do not fit degree 1, 2 or 3; copy or export it again")
