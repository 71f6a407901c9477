"""Gaussians in PlayCanvas' .sog, version 2, written from its public specification (developer.playcanvas.com).

A ZIP of lossless WebP pictures, one pixel per Gaussian, and `meta.json`: 16-bit positions on a logarithmic axis,
log-scales and colours by codebooks of 256, quaternions in three bytes, higher harmonics by a palette.
"""

import io
import json
import zipfile
from collections.abc import Mapping
from typing import Any

import numpy as np
from PIL import Image

from gslrm import harmonics as sh
from gslrm.export.codebook import codebook, nearest, palette
from gslrm.export.files import AnyPath, replacing
from gslrm.export.quaternions import smallest_three
from gslrm.export.scene import MIN_SCALE, one_scene, spatial_order, to_levels
from gslrm.types import Gaussians

VERSION = 2
HIGHEST = 65535
FIRST_MODE = 252  # alpha of a rotation's pixel is this plus the index of the largest component of wxyz
PALETTE_SIZES = (256, 4096)
GAUSSIANS_PER_ENTRY = 4
PALETTE_COLUMNS = 64  # entries side by side in the picture of the palette
EPOCH = (1980, 1, 1, 0, 0, 0)  # no time in the file: equal Gaussians give equal bytes


def write_sog(gaussians: Gaussians, path: AnyPath) -> None:
    """Write Gaussians `[N]` as one bundled .sog, in an order that compresses well.

    Raises:
        ValueError: the Gaussians are batched or hold NaN or infinity.
    """
    gaussians = one_scene(gaussians, path)
    gaussians = gaussians[spatial_order(gaussians.means)]
    pictures: dict[str, np.ndarray] = {}
    meta = {
        "version": VERSION,
        "count": len(gaussians.means),
        "means": _means(gaussians, pictures),
        "scales": _scales(gaussians, pictures),
        "quats": _rotations(gaussians, pictures),
        "sh0": _colours(gaussians, pictures),
    }
    if gaussians.degree:
        meta["shN"] = _harmonics(gaussians, pictures)
    with replacing(path) as temporary, zipfile.ZipFile(temporary, "w", zipfile.ZIP_STORED) as bundle:
        bundle.writestr(zipfile.ZipInfo("meta.json", EPOCH), json.dumps(meta))
        for name, picture in pictures.items():
            bundle.writestr(zipfile.ZipInfo(name, EPOCH), _webp(picture))


def _means(gaussians: Gaussians, pictures: dict[str, np.ndarray]) -> Mapping[str, Any]:
    means = gaussians.means.double().numpy()
    curved = np.sign(means) * np.log1p(np.abs(means))
    low, high = (curved.min(axis=0), curved.max(axis=0)) if len(curved) else (np.zeros(3), np.zeros(3))
    span = np.broadcast_to(high - low, curved.shape)
    levels = to_levels(np.divide(curved - low, span, out=np.zeros_like(curved), where=span > 0), HIGHEST)
    pictures["means_l.webp"] = _pixels(levels & 255)
    pictures["means_u.webp"] = _pixels(levels >> 8)
    return {"mins": low.tolist(), "maxs": high.tolist(), "files": ["means_l.webp", "means_u.webp"]}


def _scales(gaussians: Gaussians, pictures: dict[str, np.ndarray]) -> Mapping[str, Any]:
    logarithms = gaussians.scales.double().clamp_min(MIN_SCALE).log().numpy()
    book = codebook(logarithms.ravel())
    pictures["scales.webp"] = _pixels(nearest(logarithms, book))
    return {"codebook": book.tolist(), "files": ["scales.webp"]}


def _rotations(gaussians: Gaussians, pictures: dict[str, np.ndarray]) -> Mapping[str, Any]:
    largest, others = smallest_three(gaussians.rotations.double().numpy())
    levels = to_levels(others / 2 + 0.5, 255)
    pictures["quats.webp"] = _pixels(np.concatenate([levels, largest[:, None] + FIRST_MODE], axis=1))
    return {"files": ["quats.webp"]}


def _colours(gaussians: Gaussians, pictures: dict[str, np.ndarray]) -> Mapping[str, Any]:
    base = gaussians.harmonics[:, 0].double().numpy()
    book = codebook(base.ravel())
    opacity = to_levels(gaussians.opacities, 255)
    pictures["sh0.webp"] = _pixels(np.concatenate([nearest(base, book), opacity[:, None]], axis=1))
    return {"codebook": book.tolist(), "files": ["sh0.webp"]}


def _harmonics(gaussians: Gaussians, pictures: dict[str, np.ndarray]) -> Mapping[str, Any]:
    rest = gaussians.harmonics[:, 1:].double().numpy()
    size = int(np.clip(len(rest) // GAUSSIANS_PER_ENTRY, *PALETTE_SIZES))
    entries, label = palette(rest.reshape(len(rest), rest.shape[1] * 3), size)
    book = codebook(entries.ravel())
    columns = sh.coefficient_count(gaussians.degree) - 1
    rows = -(-max(len(entries), 1) // PALETTE_COLUMNS)
    centroids = np.zeros((rows * PALETTE_COLUMNS, columns, 3), np.uint8)
    centroids[: len(entries)] = nearest(entries, book).reshape(-1, columns, 3)
    pictures["shN_centroids.webp"] = centroids.reshape(rows, PALETTE_COLUMNS * columns, 3)
    split = np.stack([label & 255, label >> 8, np.zeros_like(label)], axis=1)
    pictures["shN_labels.webp"] = _pixels(split)
    return {
        "count": len(entries),
        "bands": gaussians.degree,
        "codebook": book.tolist(),
        "files": ["shN_centroids.webp", "shN_labels.webp"],
    }


def _pixels(rows: np.ndarray) -> np.ndarray:
    """Rows of 3 or 4 bytes as a picture about as high as wide, row by row."""
    count, channels = rows.shape
    width = max(1, int(np.ceil(np.sqrt(count))))
    height = max(1, -(-count // width))
    picture = np.zeros((height * width, channels), np.uint8)
    picture[:count] = rows
    return picture.reshape(height, width, channels)


def _webp(picture: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, format="WEBP", lossless=True, exact=True, quality=100, method=4)
    return buffer.getvalue()
