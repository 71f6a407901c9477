"""Gaussians in the .splat layout of the first web viewers (github.com/antimatter15/splat).

No header, 32 bytes per Gaussian: position and standard deviations as float32, colour and opacity as bytes, the
quaternion wxyz as bytes about 128. There is one colour per Gaussian.
"""

from pathlib import Path

import numpy as np
import torch

from gslrm import harmonics as sh
from gslrm.errors import UserError
from gslrm.export.files import AnyPath, read_bytes, replacing
from gslrm.export.scene import as_read, one_scene, to_levels
from gslrm.types import Gaussians

ROW = np.dtype([("means", "<f4", 3), ("scales", "<f4", 3), ("rgba", "u1", 4), ("rotations", "u1", 4)])
NORM_RANGE = (0.9, 1.1)  # of a quaternion after rounding to bytes, by writers more or less careful


def write_splat(gaussians: Gaussians, path: AnyPath) -> None:
    """Write Gaussians `[N]` as .splat, the most visible first: viewers show a file while it loads.

    View-dependent colour does not fit this layout and is dropped; colours are clamped to [0, 1].

    Raises:
        ValueError: the Gaussians are batched or hold NaN or infinity.
    """
    gaussians = one_scene(gaussians, path)
    visible = gaussians.opacities.double() * gaussians.scales.double().prod(dim=1)
    gaussians = gaussians[visible.argsort(descending=True, stable=True)]
    rows = np.zeros(len(gaussians.means), ROW)
    rows["means"], rows["scales"] = gaussians.means.numpy(), gaussians.scales.numpy()
    rows["rgba"][:, :3] = to_levels(sh.rgb_from_degree_0(gaussians.harmonics[:, 0]), 255)
    rows["rgba"][:, 3] = to_levels(gaussians.opacities, 255)
    rows["rotations"] = np.clip(np.rint(gaussians.rotations.numpy() * 128 + 128), 0, 255)
    with replacing(path) as temporary:
        temporary.write_bytes(rows.tobytes())


def read_splat(path: AnyPath) -> Gaussians:
    """Read a .splat file.

    Raises:
        UserError: the file is missing, or its numbers are no Gaussians.
    """
    path = Path(path)
    data = read_bytes(path)
    if len(data) % ROW.itemsize:
        raise UserError(
            f"{path} is no .splat file or cut short: {len(data)} bytes are not a multiple of {ROW.itemsize}; "
            "copy or export it again"
        )
    rows = np.frombuffer(data, ROW)
    _check(rows, path)
    colour = sh.degree_0_from_rgb(torch.from_numpy(rows["rgba"][:, :3] / 255))
    gaussians = Gaussians(
        means=torch.from_numpy(rows["means"].astype(np.float64)),
        scales=torch.from_numpy(rows["scales"].astype(np.float64)),
        rotations=torch.from_numpy((rows["rotations"].astype(np.float64) - 128) / 128),
        opacities=torch.from_numpy(rows["rgba"][:, 3] / 255),
        harmonics=colour[:, None],
    )
    return as_read(gaussians, path)


def _check(rows: np.ndarray, path: Path) -> None:
    """The layout has no magic number, so the numbers themselves must speak for it."""
    norm = np.linalg.norm((rows["rotations"].astype(np.float64) - 128) / 128, axis=1)
    plausible = (rows["scales"] >= 0).all(axis=1) & (norm > NORM_RANGE[0]) & (norm < NORM_RANGE[1])
    plausible &= np.isfinite(rows["means"]).all(axis=1) & np.isfinite(rows["scales"]).all(axis=1)
    if not plausible.all():
        raise UserError(
            f"{path} is damaged or no .splat file: {int((~plausible).sum())} of {len(rows)} records have a scale, "
            "position or rotation that cannot be; give a file of Gaussians"
        )
