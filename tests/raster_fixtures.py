"""Recorded scenes of gsplat's semantics, with their outputs and gradients in float64 (see tests/fixtures/raster)."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

FOLDER = Path(__file__).parent / "fixtures" / "raster"
NAMES = sorted(path.stem for path in FOLDER.glob("*.npz"))
DIFFERENTIATED = ("means", "quats", "scales", "opacities", "colors", "backgrounds")
SETTINGS = ("near_plane", "far_plane", "eps2d", "max_alpha", "min_compensation")
NEARLY_ZERO = 1e-9  # a recorded gradient below this is analytically zero


@dataclass(frozen=True)
class RasterFixture:
    """One scene: arguments of `rasterization`, those of them that have gradients, and what was recorded."""

    arguments: dict[str, Any]
    inputs: dict[str, Tensor]
    upstream: dict[str, Tensor]
    recorded: dict[str, np.ndarray]

    def loss(self, image: Tensor, alpha: Tensor) -> Tensor:
        """The recorded functional of the outputs of mode RGB+ED."""
        of_pictures = (image[..., :3] * self.upstream["v_rgb"]).sum() + (image[..., 3:] * self.upstream["v_ed"]).sum()
        return of_pictures + (alpha * self.upstream["v_alpha"]).sum()


def load_fixture(name: str, dtype: torch.dtype, device: str = "cpu") -> RasterFixture:
    """Read a scene; its inputs are new leaves."""
    with np.load(FOLDER / f"{name}.npz", allow_pickle=False) as file:
        arrays = {key: file[key] for key in file.files if key != "labels"}
    tensors = {key: torch.from_numpy(value).to(device, dtype) for key, value in arrays.items() if value.ndim}
    inputs = {key: tensors[key].clone().requires_grad_() for key in DIFFERENTIATED if key in tensors}
    arguments = {
        **inputs,
        "viewmats": tensors["viewmats"],
        "Ks": tensors["Ks"],
        "width": int(arrays["width"]),
        "height": int(arrays["height"]),
        "rasterize_mode": "antialiased" if arrays["antialiased"] else "classic",
        **{key: float(arrays[key]) for key in SETTINGS},
    }
    upstream = {key: tensors[key] for key in ("v_rgb", "v_alpha", "v_ed")}
    return RasterFixture(arguments, inputs, upstream, arrays)
