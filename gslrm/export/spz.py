"""Gaussians in Niantic's .spz, written from its public description (github.com/nianticlabs/spz, MIT).

A gzip stream of a 16-byte header, then one block per property: positions as 24-bit fixed point, opacities, colours,
log-scales as bytes, rotations, higher harmonics as bytes. Axes inside are x right, y up, z backward; those
of the Gaussians are taken for x right, y down, z forward, as in .ply files.
"""

import struct
import zlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from gslrm import harmonics as sh
from gslrm.errors import UserError
from gslrm.export.files import AnyPath, read_bytes, replacing
from gslrm.export.quaternions import from_smallest_three, smallest_three
from gslrm.export.scene import MIN_SCALE, as_read, one_scene, spatial_order, to_levels
from gslrm.types import Gaussians

MAGIC = b"NGSP"
GZIP_MAGIC = b"\x1f\x8b"
HEADER = struct.Struct("<4sIIBBBB")  # magic, version, count, degree, fractional bits, flags, reserved
VERSION = 3
READABLE = (2, 3)
EXTENSIONS = 2  # flag: records of a vendor follow, which can change the meaning of the rest
MAX_POSITION = 2**23 - 1
MAX_FRACTIONAL_BITS = 20
STEPS_PER_SCALE = 8  # a position moves by at most a sixteenth of the usual standard deviation
COLOUR_SCALE = 0.15  # smaller than the harmonic's 0.282: colours somewhat outside [0, 1] fit
SCALE_STEPS, SCALE_OFFSET = 16, 10  # per unit of log-scale, and what is added before
HARMONIC_LEVELS = (8, 16)  # width of a level of degree 1, of the higher ones; out of 256 for [-1, 1]
MAX_INFLATION = 1032  # what deflate can reach at best
ROTATION_LEVELS = 511
HALF_TURN = torch.diag(torch.tensor([1.0, -1.0, -1.0], dtype=torch.float64))


def write_spz(gaussians: Gaussians, path: AnyPath) -> None:
    """Write Gaussians `[N]` as .spz version 3, in an order that compresses well.

    Lossy: scales to 3 %, opacities and colours to a byte, higher harmonics to 5 bits and 4 (and to [-1, 1]), rotations
    to 0.1 degrees. Positions are rounded to the largest power of two that the Gaussians' own size does not notice.

    Raises:
        ValueError: the Gaussians are batched or hold NaN or infinity.
    """
    gaussians = one_scene(gaussians, path)
    gaussians = _half_turned(gaussians[spatial_order(gaussians.means)])
    bits = _fractional_bits(gaussians)
    positions = np.rint(gaussians.means.double().numpy() * 2.0**bits).astype("<i4")
    scales = (gaussians.scales.double().clamp_min(MIN_SCALE).log() + SCALE_OFFSET) * (SCALE_STEPS / 255)
    blocks = [
        positions.view(np.uint8).reshape(-1, 3, 4)[..., :3],
        to_levels(gaussians.opacities, 255),
        to_levels(gaussians.harmonics[:, 0].double() * COLOUR_SCALE + 0.5, 255),
        to_levels(scales, 255),
        _pack_rotations(gaussians.rotations.double().numpy()).view(np.uint8),
        _pack_harmonics(gaussians.harmonics[:, 1:].double().numpy()),
    ]
    header = HEADER.pack(MAGIC, VERSION, len(positions), gaussians.degree, bits, 0, 0)
    content = header + b"".join(np.ascontiguousarray(block, dtype=np.uint8).tobytes() for block in blocks)
    packer = zlib.compressobj(9, wbits=31)
    with replacing(path) as temporary:
        temporary.write_bytes(packer.compress(content) + packer.flush())


def read_spz(path: AnyPath) -> Gaussians:
    """Read a .spz file of version 2 or 3.

    Raises:
        UserError: the file is missing, damaged, or of another version.
    """
    path = Path(path)
    data = read_bytes(path)
    version, count, degree, bits = _header(data, path)
    per_row = [9, 1, 3, 3, 3 if version == 2 else 4, 3 * (sh.coefficient_count(degree) - 1)]
    content = _inflate(data, HEADER.size + count * sum(per_row), path)[HEADER.size :]
    ends = np.cumsum([count * size for size in per_row])
    blocks = [
        np.frombuffer(content[end - count * size : end], np.uint8).reshape(count, size)
        for end, size in zip(ends, per_row, strict=True)
    ]
    positions, opacities, colours, scales, rotations, rest = blocks
    base = (colours[:, None] / 255 - 0.5) / COLOUR_SCALE
    higher = (rest.astype(np.float64).reshape(count, per_row[-1] // 3, 3) - 128) / 128
    unpack = _unpack_rotations_2 if version == 2 else _unpack_rotations_3
    gaussians = Gaussians(
        means=torch.from_numpy(_signed_24(positions) / 2.0**bits),
        scales=torch.from_numpy(scales / SCALE_STEPS - SCALE_OFFSET).exp(),
        rotations=torch.from_numpy(unpack(rotations)),
        opacities=torch.from_numpy(opacities[:, 0] / 255),
        harmonics=torch.from_numpy(np.concatenate([base, higher], axis=1)),
    )
    return _half_turned(as_read(gaussians, path))


def _half_turned(gaussians: Gaussians) -> Gaussians:
    """The same Gaussians in a world turned by half a turn about x: from y down, z forward to y up, z backward, or back.

    Each Gaussian's own axes turn too, which leaves its shape: that is how other programs convert.
    """
    return replace(
        gaussians,
        means=gaussians.means * HALF_TURN.diagonal().float(),
        rotations=gaussians.rotations * torch.tensor([1.0, 1.0, -1.0, -1.0]),
        harmonics=sh.rotate(gaussians.harmonics, HALF_TURN),
    )


def _fractional_bits(gaussians: Gaussians) -> int:
    """Bits behind the point: as fine as the Gaussians' size asks for, as coarse as their distance forces."""
    if not len(gaussians.means):
        return 12
    usual = float(gaussians.scales.amax(dim=1).median().clamp_min(MIN_SCALE))
    farthest = float(gaussians.means.abs().max())
    wanted = int(np.ceil(np.log2(STEPS_PER_SCALE / usual)))
    fitting = int(np.floor(np.log2(MAX_POSITION / max(farthest, 1e-30))))
    if fitting < 0:
        raise ValueError(f"positions up to {farthest:g} do not fit a .spz file, which ends at {MAX_POSITION}")
    return max(0, min(wanted, fitting, MAX_FRACTIONAL_BITS))


def _pack_rotations(quaternions: np.ndarray) -> np.ndarray:
    """Version 3: index of the largest component of xyzw in 2 bits, the others as sign with 9 bits each."""
    largest, others = smallest_three(quaternions[:, [1, 2, 3, 0]])
    fields = to_levels(np.abs(others), ROTATION_LEVELS) | ((others < 0).astype(np.uint32) << 9)
    packed = (largest.astype(np.uint32) << 30) | (fields[:, 0] << 20) | (fields[:, 1] << 10) | fields[:, 2]
    return packed.astype("<u4")


def _unpack_rotations_3(rows: np.ndarray) -> np.ndarray:
    packed = np.ascontiguousarray(rows).view("<u4")[:, 0]
    fields = np.stack([packed >> shift & 1023 for shift in (20, 10, 0)], axis=1)
    others = (fields & ROTATION_LEVELS) / ROTATION_LEVELS * np.where(fields >> 9, -1.0, 1.0)
    return from_smallest_three((packed >> 30).astype(np.int64), others)[:, [3, 0, 1, 2]]


def _unpack_rotations_2(rows: np.ndarray) -> np.ndarray:
    """Version 2: x, y, z as bytes; w is what is left, and positive."""
    vector = rows / 127.5 - 1
    real = np.sqrt(np.clip(1 - np.square(vector).sum(axis=1, keepdims=True), 0, None))
    return np.concatenate([real, vector], axis=1)


def _pack_harmonics(rest: np.ndarray) -> np.ndarray:
    """Bytes about 128 rounded to the middle of their level, so that gzip finds repetitions."""
    width = np.where(np.arange(rest.shape[1]) < 3, *HARMONIC_LEVELS)[:, None]
    levels = np.rint(rest * 128) + 128
    return np.clip((levels + width // 2) // width * width, 0, 255).astype(np.uint8)


def _signed_24(rows: np.ndarray) -> np.ndarray:
    padded = np.zeros((len(rows), 3, 4), np.uint8)
    padded[..., 1:] = rows.reshape(-1, 3, 3)
    return padded.view("<i4")[..., 0] >> 8  # keeps the sign


def _header(data: bytes, path: Path) -> tuple[int, int, int, int]:
    """Version, count, degree and fractional bits."""
    if data.startswith(MAGIC):
        raise UserError(f"{path} is a .spz file of version 4 or later; save it as version 3")
    magic, version, count, degree, bits, flags, _ = HEADER.unpack(_inflate(data, HEADER.size, path))
    if magic != MAGIC:
        raise UserError(f"{path} is a gzip file but no .spz: it does not start with {MAGIC.decode()}; give a .spz file")
    if version not in READABLE:
        raise UserError(f"{path} is a .spz file of version {version}; save it as version 3")
    if degree > sh.MAX_DEGREE or bits > 23:
        raise UserError(f"{path}: harmonics of degree {degree} with {bits} fractional bits; save it with degree 3")
    if flags & EXTENSIONS:
        raise UserError(f"{path} holds a vendor's extensions, which change its meaning; save it without them")
    return version, count, degree, bits


def _inflate(data: bytes, size: int, path: Path) -> bytes:
    """The first `size` bytes of the stream; never more memory than the file itself can account for."""
    content = b""
    if size <= MAX_INFLATION * len(data):
        try:
            content = zlib.decompressobj(wbits=31).decompress(data, size)
        except zlib.error as error:
            raise UserError(f"{path} is damaged: {error}; copy or export it again") from error
    if len(content) < size:
        raise UserError(f"{path} is cut short: its header promises {size} bytes; copy or export it again")
    return content
