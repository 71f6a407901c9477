"""Writers of what leaves the program (3DGS .ply, PNG, depth, MP4, JSON), with the reader of .ply files.

Every file is written under a temporary name and renamed when it is complete: a reader never meets half a file, and
an interrupted run leaves the previous one in place.
"""

import json
import math
import os
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import imageio_ffmpeg
import numpy as np
import torch
from jaxtyping import Float, Float32, UInt8
from PIL import Image
from torch import Tensor

from gslrm import harmonics as sh
from gslrm.errors import UserError
from gslrm.types import Gaussians

AnyPath = str | os.PathLike[str]

MIN_OPACITY = 1e-6  # opacities are stored as logits: 0 and 1 move by this much, far below one grey level
MIN_SCALE = 1e-12  # scales are stored as logarithms: keeps 0 finite
MAX_DEPTH_VALUE = 65535  # of a 16-bit PNG
MAX_HEADER_LINES = 1000
VIDEO_OPTIONS = (  # visually lossless; colours converted and tagged alike, or players guess; playable while loading
    "-crf 18 -movflags +faststart -color_range tv -colorspace bt709 -color_primaries bt709 -color_trc bt709 "
    "-vf scale=out_color_matrix=bt709:out_range=tv,setparams=color_primaries=bt709:color_trc=bt709"
)

_PLY_TYPES = {"char": "i1", "uchar": "u1", "short": "i2", "ushort": "u2", "int": "i4", "uint": "u4", "float": "f4"}
_PLY_TYPES |= {"int8": "i1", "uint8": "u1", "int16": "i2", "uint16": "u2", "int32": "i4", "uint32": "u4"}
_PLY_TYPES |= {"float32": "f4", "double": "f8", "float64": "f8"}
_BYTE_ORDERS = {"binary_little_endian": "<", "binary_big_endian": ">"}


@contextmanager
def replacing(path: AnyPath) -> Iterator[Path]:
    """A temporary path beside `path` to write to; it takes the place of `path` when the block ends without an error.

    Raises:
        UserError: the file cannot be written there.
    """
    path = Path(path)
    temporary = path.with_name(f".{path.stem}.{os.getpid()}{path.suffix}")  # encoders look at the suffix
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        temporary.replace(path)
    except OSError as error:
        raise UserError(f"cannot write {path}: {error}; free some space or choose another output folder") from error
    finally:
        if temporary.exists():
            temporary.unlink()


def write_json(path: AnyPath, data: Any) -> None:
    """Write numbers, strings, lists and mappings as indented JSON; NaN and infinity are refused (ValueError)."""
    text = json.dumps(data, indent=1, allow_nan=False) + "\n"
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_ply(gaussians: Gaussians, path: AnyPath, min_opacity: float = 0.0) -> None:
    """Write Gaussians `[N]` in the layout of 3D Gaussian splatting (Kerbl et al. 2023), which all viewers open.

    Normals are zeros: the original viewer reads fixed positions and expects them. The higher harmonics are
    channel-major with as many coefficients as the degree has; viewers tell the degree from their number, so padding
    would misplace the channels. Gaussians with an opacity below `min_opacity` are left out.

    Raises:
        ValueError: the Gaussians are batched or hold NaN or infinity.
    """
    if gaussians.means.ndim != 2:
        raise ValueError(f"write_ply takes one scene, got means of shape {tuple(gaussians.means.shape)}")
    gaussians = gaussians.detach().to("cpu").float()
    rows = _ply_rows(gaussians[~(gaussians.opacities < min_opacity)])  # NaN is kept, to be found
    if not np.isfinite(rows).all():
        raise ValueError(f"the Gaussians for {path} hold NaN or infinity")
    properties = "".join(f"property float {name}\n" for name in _property_names(gaussians.degree))
    header = f"ply\nformat binary_little_endian 1.0\nelement vertex {len(rows)}\n{properties}end_header\n"
    with replacing(path) as temporary, temporary.open("wb") as file:
        file.write(header.encode("ascii"))
        rows.astype("<f4", copy=False).tofile(file)


def read_ply(path: AnyPath) -> Gaussians:
    """Read Gaussians in the layout of 3D Gaussian splatting, with or without normals and vertex colours.

    The number of `f_rest` properties gives the degree. FaceLift's files are the exception: they always hold 45, of
    which those of the model's own degree come first; the padding is dropped.

    Raises:
        UserError: the file is missing, damaged or no .ply of Gaussians.
    """
    try:
        with Path(path).open("rb") as file:
            vertices = _read_vertices(file, Path(path))
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}") from error
    base = _columns(vertices, "f_dc_0", "f_dc_1", "f_dc_2")[:, None]
    rest = torch.from_numpy(_rest(vertices, Path(path))).mT
    return Gaussians(
        means=_columns(vertices, "x", "y", "z"),
        scales=_columns(vertices, "scale_0", "scale_1", "scale_2").exp(),
        rotations=torch.nn.functional.normalize(_columns(vertices, "rot_0", "rot_1", "rot_2", "rot_3"), dim=-1),
        opacities=_columns(vertices, "opacity")[:, 0].sigmoid(),
        harmonics=torch.cat([base, rest], dim=1),
    ).float()


def _property_names(degree: int) -> list[str]:
    rest = 3 * (sh.coefficient_count(degree) - 1)
    return [
        *("x", "y", "z", "nx", "ny", "nz", "f_dc_0", "f_dc_1", "f_dc_2"),
        *(f"f_rest_{i}" for i in range(rest)),
        *("opacity", "scale_0", "scale_1", "scale_2", "rot_0", "rot_1", "rot_2", "rot_3"),
    ]


def _ply_rows(gaussians: Gaussians) -> Float32[np.ndarray, "n properties"]:
    rest = gaussians.harmonics[:, 1:].mT.flatten(1)  # channel-major: all of red, then green, then blue
    opacities = gaussians.opacities.double().clamp(MIN_OPACITY, 1 - MIN_OPACITY)
    columns = [
        gaussians.means,
        torch.zeros_like(gaussians.means),
        gaussians.harmonics[:, 0],
        rest,
        opacities.logit()[:, None].float(),
        gaussians.scales.clamp_min(MIN_SCALE).log(),
        torch.nn.functional.normalize(gaussians.rotations, dim=-1),
    ]
    return torch.cat(columns, dim=1).numpy()


def _read_vertices(file: BinaryIO, path: Path) -> np.ndarray:
    """The vertices as a structured array, one field per property."""
    count, dtype = _parse_header(_header_lines(file, path), path)
    missing = [name for name in _property_names(0) if name not in (dtype.names or ()) and name[0] != "n"]
    if missing:
        raise UserError(f"{path} is a .ply without Gaussians: it lacks {', '.join(missing)}; give a 3DGS .ply")
    if os.fstat(file.fileno()).st_size - file.tell() < count * dtype.itemsize:
        raise UserError(f"{path} is cut short: its header promises {count} Gaussians; copy or export it again")
    return np.frombuffer(file.read(count * dtype.itemsize), dtype)


def _header_lines(file: BinaryIO, path: Path) -> list[list[str]]:
    lines: list[list[str]] = []
    for _ in range(MAX_HEADER_LINES):
        words = file.readline(1024).decode("ascii", errors="replace").split()
        if not lines and words != ["ply"]:
            break
        if words == ["end_header"]:
            return lines
        lines.append(words)
    raise UserError(f"{path} is not a .ply file; give a .ply of Gaussians")


def _parse_header(lines: list[list[str]], path: Path) -> tuple[int, np.dtype]:
    """Number of vertices and their layout."""
    encoding = next((words[1] for words in lines if words[:1] == ["format"] and len(words) > 1), "none")
    if encoding not in _BYTE_ORDERS:
        raise UserError(f"{path}: format {encoding} is not supported; export it as a binary .ply")
    elements = [i for i, words in enumerate(lines) if words[:1] == ["element"] and len(words) == 3]
    if not elements or lines[elements[0]][1] != "vertex" or not lines[elements[0]][2].isdigit():
        raise UserError(f"{path}: the first element is not 'vertex'; export it as an uncompressed 3DGS .ply")
    block = lines[elements[0] + 1 : (*elements, len(lines))[1]]
    fields = []
    for words in (words for words in block if words[:1] == ["property"]):
        if len(words) != 3 or words[1] not in _PLY_TYPES:
            raise UserError(f"{path}: cannot read '{' '.join(words)}' of a vertex; export it as a plain 3DGS .ply")
        fields.append((words[2], _BYTE_ORDERS[encoding] + _PLY_TYPES[words[1]]))
    return int(lines[elements[0]][2]), np.dtype(fields)


def _columns(vertices: np.ndarray, *names: str) -> Float[Tensor, "n columns"]:
    return torch.from_numpy(np.stack([vertices[name].astype(np.float64) for name in names], axis=-1))


def _rest(vertices: np.ndarray, path: Path) -> np.ndarray:
    """The higher harmonics [n, 3, coefficients - 1]."""
    names = vertices.dtype.names or ()
    count = sum(name.startswith("f_rest_") for name in names)
    allowed = [3 * (sh.coefficient_count(degree) - 1) for degree in range(sh.MAX_DEGREE + 1)]
    if count not in allowed or any(f"f_rest_{i}" not in names for i in range(count)):
        raise UserError(f"{path} has {count} f_rest properties; degrees 0 to {sh.MAX_DEGREE} have {allowed}")
    rest = np.zeros((len(vertices), count))
    for i in range(count):
        rest[:, i] = vertices[f"f_rest_{i}"]
    if "red" in names and "nx" not in names:  # FaceLift's writer
        used = int(np.flatnonzero(rest.any(axis=0)).max(initial=-1)) + 1
        rest = rest[:, : next(size for size in allowed if size >= used)]
    return rest.reshape(len(vertices), 3, rest.shape[1] // 3)


def as_uint8(image: Float[Tensor, "c h w"]) -> UInt8[np.ndarray, "h w c"]:
    """A picture of an image in [0, 1]: clamped, rounded to the nearest of 256 levels, channels last.

    Raises:
        ValueError: the image holds NaN.
    """
    if image.isnan().any():
        raise ValueError("the image holds NaN")
    levels = (image.detach().float().clamp(0, 1) * 255).round()
    return levels.to(torch.uint8).permute(1, 2, 0).cpu().contiguous().numpy()


def write_png(path: AnyPath, image: Float[Tensor, "c h w"]) -> None:
    """Write an RGB image or a coverage (three channels or one) in [0, 1] as an 8-bit PNG."""
    write_picture(path, as_uint8(image))


def write_picture(path: AnyPath, picture: UInt8[np.ndarray, "h w c"]) -> None:
    """Write a picture that already has 256 levels, with three channels or one."""
    _save(path, picture if picture.shape[-1] == 3 else picture[..., 0])


def depth_scale(max_depth: float) -> float:
    """The largest of 1, 2, 5 x 10^k with which depths up to `max_depth` fit a 16-bit PNG: value = round(depth x scale).

    Raises:
        ValueError: the depth is negative or not finite.
    """
    if not 0 <= max_depth < math.inf:
        raise ValueError(f"the largest depth must be finite and not negative, got {max_depth}")
    if max_depth == 0:  # nothing was rendered, every scale is right
        return 1.0
    power = 10.0 ** math.floor(math.log10(MAX_DEPTH_VALUE / max_depth))
    return max(factor * power for factor in (0.5, 1, 2, 5) if factor * power * max_depth <= MAX_DEPTH_VALUE)


def write_depth(path: AnyPath, depth: Float[Tensor, "1 h w"], scale: float) -> None:
    """Write depths as a 16-bit PNG of round(depth x scale); choose one scale for all views with `depth_scale`.

    Raises:
        ValueError: a depth does not fit.
    """
    values = (depth[0].detach().cpu().double() * scale).round().numpy()
    if not ((values >= 0) & (values <= MAX_DEPTH_VALUE)).all():
        raise ValueError(f"depths between 0 and {MAX_DEPTH_VALUE / scale:g} fit scale {scale:g}; use depth_scale()")
    _save(path, values.astype(np.uint16))


def _save(path: AnyPath, pixels: np.ndarray) -> None:
    with replacing(path) as temporary:
        Image.fromarray(pixels).save(temporary, format="PNG")


def write_video(path: AnyPath, frames: Iterable[UInt8[np.ndarray, "h w 3"]], fps: int = 30) -> None:
    """Stream frames into an H.264 MP4 that browsers and QuickTime play.

    The format needs even sides; a frame with an odd one is extended by its last row or column.

    Raises:
        ValueError: there is no frame, or a frame has another size than the first.
    """
    first = next(frames := iter(frames), None)
    if first is None:
        raise ValueError(f"write_video: no frames for {path}")
    with replacing(path) as temporary:
        with closing(_encoder(temporary, first.shape, fps)) as encoder:
            encoder.send(None)
            encoder.send(_even(first))
            count = 1
            for frame in frames:
                if frame.shape != first.shape:
                    raise ValueError(f"frame {count} has shape {frame.shape}, the first has {first.shape}")
                encoder.send(_even(frame))
                count += 1
        written = imageio_ffmpeg.count_frames_and_secs(str(temporary))[0] if temporary.exists() else 0
        if written != count:  # the encoder's exit status is not passed on
            raise OSError(f"the encoder wrote {written} of {count} frames")


def _encoder(path: Path, shape: tuple[int, ...], fps: int) -> Any:
    height, width = (size + size % 2 for size in shape[:2])
    return imageio_ffmpeg.write_frames(
        path,
        (width, height),
        fps=fps,
        codec="libx264",
        pix_fmt_out="yuv420p",
        quality=None,
        macro_block_size=1,
        ffmpeg_log_level="error",
        output_params=VIDEO_OPTIONS.split(),
    )


def _even(frame: UInt8[np.ndarray, "h w 3"]) -> UInt8[np.ndarray, "h2 w2 3"]:
    height, width = frame.shape[:2]
    return np.ascontiguousarray(np.pad(frame, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge"))
