"""Gaussians in the .ply layout of 3D Gaussian splatting, with its variants by FaceLift, by LGM."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from gslrm import harmonics as sh
from gslrm.errors import UserError
from gslrm.export.files import AnyPath, replacing
from gslrm.export.ply_header import Element, read_header, read_tables
from gslrm.export.scene import MIN_OPACITY, MIN_SCALE, as_read, one_scene
from gslrm.types import Gaussians

REQUIRED = (
    *("x", "y", "z", "f_dc_0", "f_dc_1", "f_dc_2", "opacity"),
    *("scale_0", "scale_1", "scale_2", "rot_0", "rot_1", "rot_2", "rot_3"),
)
LGM_MIN_OPACITY = 0.005  # LGM leaves fainter Gaussians out of its files
LGM_ADDED_SCALE = 1e-8  # and adds this before the logarithm


def write_ply(gaussians: Gaussians, path: AnyPath, min_opacity: float = 0.0) -> None:
    """Write Gaussians `[N]` in the layout of 3D Gaussian splatting (Kerbl et al. 2023), which all viewers open.

    Normals are zeros: the original viewer reads fixed positions and expects them. The higher harmonics are
    channel-major with as many coefficients as the degree has; viewers tell the degree from their number, so padding
    would misplace the channels. Gaussians with an opacity below `min_opacity` are left out.

    Raises:
        ValueError: the Gaussians are batched or hold NaN or infinity.
    """
    gaussians = one_scene(gaussians, path)
    columns = _columns_of(gaussians[gaussians.opacities >= min_opacity])
    zeros = np.zeros_like(columns["x"])
    rest = [f"f_rest_{i}" for i in range(3 * (sh.coefficient_count(gaussians.degree) - 1))]
    columns |= {name: zeros for name in ("nx", "ny", "nz")}
    names = ("x", "y", "z", "nx", "ny", "nz", "f_dc_0", "f_dc_1", "f_dc_2", *rest, *REQUIRED[6:])
    _write_rows(path, columns, names)


def write_lgm_ply(gaussians: Gaussians, path: AnyPath, min_opacity: float = LGM_MIN_OPACITY) -> None:
    """Write Gaussians `[N]` as LGM's code does and reads: 14 properties, no normals, one colour per Gaussian.

    View-dependent colour does not fit this layout and is dropped. Axes and units stay as they are; those of LGM's own
    files are OpenGL's, y up.

    Raises:
        ValueError: the Gaussians are batched or hold NaN or infinity.
    """
    gaussians = one_scene(gaussians, path)
    kept = gaussians[gaussians.opacities >= min_opacity]
    columns = _columns_of(kept)
    opacities = kept.opacities.float().clamp(MIN_OPACITY, 1 - MIN_OPACITY)  # LGM's own files round before the logarithm
    columns["opacity"] = (opacities / (1 - opacities)).log().numpy()
    for axis in range(3):
        columns[f"scale_{axis}"] = (kept.scales[:, axis] + LGM_ADDED_SCALE).log().numpy()
    _write_rows(path, columns, REQUIRED)


def read_ply(path: AnyPath) -> Gaussians:
    """Read Gaussians in the layout of 3D Gaussian splatting, with or without normals and vertex colours.

    The number of `f_rest` properties gives the degree. FaceLift's files are the exception: they always hold 45, of
    which those of the model's own degree come first; the padding is dropped.

    Raises:
        UserError: the file is missing, damaged or no .ply of Gaussians.
    """
    path = Path(path)
    try:
        with path.open("rb") as file:
            elements = read_header(file, path)
            check_vertices(elements, path)
            vertices = read_tables(file, elements[:1])["vertex"]
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}") from error
    base = _columns(vertices, "f_dc_0", "f_dc_1", "f_dc_2")[:, None]
    rest = torch.from_numpy(_rest(vertices, path)).mT
    gaussians = Gaussians(
        means=_columns(vertices, "x", "y", "z"),
        scales=_columns(vertices, "scale_0", "scale_1", "scale_2").exp(),
        rotations=_columns(vertices, "rot_0", "rot_1", "rot_2", "rot_3"),
        opacities=_columns(vertices, "opacity")[:, 0].sigmoid(),
        harmonics=torch.cat([base, rest], dim=1),
    )
    return as_read(gaussians, path)


def check_vertices(elements: Sequence[Element], path: Path) -> None:
    """Whether the first table holds Gaussians.

    Raises:
        UserError: it does not.
    """
    if not elements or elements[0].name != "vertex":
        raise UserError(f"{path}: the first element is not 'vertex'; export it as an uncompressed 3DGS .ply")
    missing = [name for name in REQUIRED if name not in elements[0].properties]
    if missing:
        raise UserError(f"{path} is a .ply without Gaussians: it lacks {', '.join(missing)}; give a 3DGS .ply")


def _columns_of(gaussians: Gaussians) -> dict[str, np.ndarray]:
    """All columns in 3DGS' meaning, by name."""
    rest = gaussians.harmonics[:, 1:].mT.flatten(1)  # channel-major: all of red, then green, then blue
    opacities = gaussians.opacities.double().clamp(MIN_OPACITY, 1 - MIN_OPACITY)
    blocks = {
        "f_dc_": gaussians.harmonics[:, 0],
        "f_rest_": rest,
        "scale_": gaussians.scales.clamp_min(MIN_SCALE).log(),
        "rot_": gaussians.rotations,
    }
    columns = {name: gaussians.means[:, axis] for axis, name in enumerate("xyz")}
    columns["opacity"] = opacities.logit()
    for prefix, block in blocks.items():
        columns |= {f"{prefix}{i}": block[:, i] for i in range(block.shape[1])}
    return {name: column.numpy() for name, column in columns.items()}


def _write_rows(path: AnyPath, columns: dict[str, np.ndarray], names: Sequence[str]) -> None:
    rows = np.stack([columns[name] for name in names], axis=1).astype("<f4")
    properties = "".join(f"property float {name}\n" for name in names)
    header = f"ply\nformat binary_little_endian 1.0\nelement vertex {len(rows)}\n{properties}end_header\n"
    with replacing(path) as temporary, temporary.open("wb") as file:
        file.write(header.encode("ascii"))
        rows.tofile(file)


def _columns(vertices: np.ndarray, *names: str) -> Float[Tensor, "n columns"]:
    with np.errstate(invalid="ignore"):  # NaN is found later, in whatever field
        return torch.from_numpy(np.stack([vertices[name].astype(np.float64) for name in names], axis=-1))


def _rest(vertices: np.ndarray, path: Path) -> np.ndarray:
    """The higher harmonics [n, 3, coefficients - 1]."""
    names = vertices.dtype.names or ()
    count = sum(name.startswith("f_rest_") for name in names)
    allowed = [3 * (sh.coefficient_count(degree) - 1) for degree in range(sh.MAX_DEGREE + 1)]
    if count not in allowed or any(f"f_rest_{i}" not in names for i in range(count)):
        raise UserError(f"{path} has {count} f_rest properties; degrees 0 to {sh.MAX_DEGREE} have {allowed}")
    rest = np.zeros((len(vertices), count))
    if count:
        rest[:] = _columns(vertices, *(f"f_rest_{i}" for i in range(count))).numpy()
    if "red" in names and "nx" not in names:  # FaceLift's writer
        used = int(np.flatnonzero(rest.any(axis=0)).max(initial=-1)) + 1
        rest = rest[:, : next(size for size in allowed if size >= used)]
    return rest.reshape(len(vertices), 3, rest.shape[1] // 3)
