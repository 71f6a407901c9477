"""Segmenters of other projects, used when their users have installed them and their weights."""

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, UInt8

from gslrm.errors import UserError

Segmenter = Callable[[UInt8[np.ndarray, "h w 3"]], Float[np.ndarray, "h w"]]


@dataclass(frozen=True)
class Plugin:
    """A package that can segment, how to get it, and how to make its segmenter from a file of weights."""

    module: str
    install: str
    build: Callable[[Any, Path, str], Segmenter]


def load(name: str, weights: Path, *, device: str = "cpu") -> Segmenter:
    """A function from uint8 [H, W, 3] RGB to float32 coverage [H, W].

    Nothing is downloaded: the weights must be there. `device` is where the segmenter runs, if it can choose.

    Raises:
        UserError: unknown name, package not installed, or weights missing.
    """
    if name not in PLUGINS:
        raise UserError(f"mask source {name!r} is unknown; choose from {', '.join(sorted(PLUGINS))}")
    plugin = PLUGINS[name]
    try:
        module = importlib.import_module(plugin.module)
    except ImportError as error:
        raise UserError(
            f"masks from {name} need a package that is not installed: {plugin.install} ({error})"
        ) from error
    if not weights.exists():
        raise UserError(f"{weights}: weights of {name} are missing; nothing is downloaded, so fetch them first")
    return plugin.build(module, weights, device)


def _rembg(module: Any, weights: Path, device: str) -> Segmenter:
    """Any ONNX model of U2-Net's interface through rembg, which takes the device that its ONNX runtime has."""
    session = module.new_session("u2net_custom", model_path=str(weights))

    def segment(image: np.ndarray) -> np.ndarray:
        return np.asarray(module.remove(image, session=session, only_mask=True), np.float32) / 255

    return segment


def _sam2(module: Any, weights: Path, device: str) -> Segmenter:
    """The largest of SAM 2's automatic masks that hardly touches the picture's border."""
    family, _, size = weights.stem.rpartition("_hiera_")
    if family not in SAM2_FAMILIES or size not in SAM2_SIZES:
        raise UserError(
            f"{weights}: keep the published name of SAM 2's weights, as sam2.1_hiera_small.pt: it says which"
        )
    config = f"configs/{family}/{family}_hiera_{SAM2_SIZES[size]}.yaml"
    build = importlib.import_module("sam2.build_sam").build_sam2
    generator = importlib.import_module("sam2.automatic_mask_generator").SAM2AutomaticMaskGenerator
    masks = generator(build(config, str(weights), device=device))

    def segment(image: np.ndarray) -> np.ndarray:
        found = [entry["segmentation"] for entry in masks.generate(image)]
        inside = [mask for mask in found if _border_share(mask) < 0.05]
        best = max(inside, key=np.sum, default=np.zeros(image.shape[:2], bool))
        return best.astype(np.float32)

    return segment


def _border_share(mask: np.ndarray) -> float:
    return float(np.concatenate([mask[0], mask[-1], mask[:, 0], mask[:, -1]]).mean())


SAM2_FAMILIES = ("sam2", "sam2.1")
SAM2_SIZES = {"tiny": "t", "small": "s", "base_plus": "b+", "large": "l"}

PLUGINS = {
    "rembg": Plugin("rembg", 'pip install "rembg[cpu]"', _rembg),
    "sam2": Plugin("sam2", "pip install git+https://github.com/facebookresearch/sam2", _sam2),
}
