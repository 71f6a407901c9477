"""Every format read by its description alone, by other people's programs where they are installed."""

import gzip
import io
import json
import shutil
import struct
import subprocess
import zipfile
from pathlib import Path

import numpy as np
import plyfile
import pytest
import torch
from export_helpers import covariances, mouse_like
from PIL import Image

from gslrm import export
from gslrm.export.scene import spatial_order
from gslrm.types import Gaussians

SPLAT_TRANSFORM = shutil.which("splat-transform")  # npm install -g @playcanvas/splat-transform


def sorted_as_written(count: int, degree: int) -> Gaussians:
    gaussians = mouse_like(count, degree)
    return gaussians[spatial_order(gaussians.means)]


def close(left: object, right: object, tolerance: float) -> None:
    np.testing.assert_allclose(np.asarray(left, float), np.asarray(right, float), rtol=0, atol=tolerance)


def test_splat_is_32_bytes_of_the_description(tmp_path: Path) -> None:
    gaussians = mouse_like(40)
    export.write_splat(gaussians, tmp_path / "g.splat")
    data = (tmp_path / "g.splat").read_bytes()
    assert len(data) == 32 * 40
    order = (gaussians.opacities.double() * gaussians.scales.double().prod(1)).argsort(descending=True)
    for row, index in enumerate(order.tolist()):
        values = struct.unpack_from("<3f3f4B4B", data, 32 * row)
        close(values[:3], gaussians.means[index], 0)
        close(values[3:6], gaussians.scales[index], 0)
        colour = 0.28209479177387814 * gaussians.harmonics[index, 0] + 0.5
        close(np.array(values[6:10]) / 255, [*colour, gaussians.opacities[index]], 0.5 / 255 + 1e-6)
        close((np.array(values[10:]) - 128) / 128, gaussians.rotations[index], 1 / 128)


@pytest.mark.parametrize("degree", range(4))
def test_spz_is_the_stream_of_the_description(tmp_path: Path, degree: int) -> None:
    gaussians = sorted_as_written(30, degree)
    export.write_spz(gaussians, tmp_path / "g.spz")
    data = gzip.decompress((tmp_path / "g.spz").read_bytes())
    assert struct.unpack_from("<IIIB", data) == (0x5053474E, 3, 30, degree)
    bits, flags, reserved = data[13:16]
    assert (flags, reserved) == (0, 0)
    rest = 3 * ((degree + 1) ** 2 - 1)
    assert len(data) == 16 + 30 * (9 + 1 + 3 + 3 + 4 + rest)
    starts = 16 + 30 * np.cumsum([0, 9, 1, 3, 3, 4])
    flip = np.array([1, -1, -1])  # x right, y up, z back
    for i in range(30):
        fixed = [int.from_bytes(data[starts[0] + 9 * i + 3 * a :][:3], "little", signed=True) for a in range(3)]
        close(np.array(fixed) / 2**bits * flip, gaussians.means[i], 0.51 / 2**bits)
        close(data[starts[1] + i] / 255, gaussians.opacities[i], 0.51 / 255)
        close((np.array([*data[starts[2] + 3 * i :][:3]]) / 255 - 0.5) / 0.15, gaussians.harmonics[i, 0], 0.51 / 38)
        close(np.array([*data[starts[3] + 3 * i :][:3]]) / 16 - 10, gaussians.scales[i].log(), 0.51 / 16)
        close(spz_rotation(data[starts[4] + 4 * i :][:4]), shape_of(gaussians.rotations[i]), 0.01)
        coefficients = (np.array([*data[starts[5] + rest * i :][:rest]]) - 128).reshape(-1, 3) / 128
        signs = np.array([-1, -1, 1, -1, 1, 1, -1, 1, -1, 1, -1, -1, 1, -1, 1])[: len(coefficients), None]
        close(coefficients * signs, gaussians.harmonics[i, 1:], 8.5 / 128)


def spz_rotation(four: bytes) -> np.ndarray:
    """The turned ellipsoid that four bytes stand for, back in the axes of .ply files."""
    word = int.from_bytes(four, "little")
    xyzw, largest = np.zeros(4), word >> 30
    for index in (index for index in (3, 2, 1, 0) if index != largest):
        size = (word & 511) / 511 / np.sqrt(2)
        xyzw[index] = -size if word >> 9 & 1 else size
        word >>= 10
    xyzw[largest] = np.sqrt(1 - np.square(xyzw).sum())
    x, y, z, w = xyzw
    return shape_of(torch.tensor([w, x, -y, -z]))


def shape_of(rotation: torch.Tensor) -> np.ndarray:
    one = mouse_like(1)
    return covariances(
        Gaussians(one.means, torch.tensor([[1.0, 0.5, 0.2]]), rotation[None].float(), one.opacities, one.harmonics)
    )[0].numpy()


@pytest.mark.parametrize("degree", range(4))
def test_compressed_ply_is_the_layout_of_the_description(tmp_path: Path, degree: int) -> None:
    gaussians = sorted_as_written(300, degree)
    export.write_compressed_ply(gaussians, tmp_path / "g.ply")
    data = plyfile.PlyData.read(tmp_path / "g.ply")
    assert [element.name for element in data.elements] == ["chunk", "vertex", "sh"][: 2 + (degree > 0)]
    chunk, vertex = data["chunk"], data["vertex"]
    assert len(chunk.data) == 2 and len(vertex.data) == 300
    logs = gaussians.scales.log().numpy()
    colour = (0.28209479177387814 * gaussians.harmonics[:, 0] + 0.5).numpy()
    for i in range(0, 300, 7):
        block = i // 256
        for word, prefix, values in (("position", "", gaussians.means), ("scale", "scale_", logs)):
            packed = int(vertex[f"packed_{word}"][i])
            for axis, name in enumerate("xyz"):
                shift, size = ((21, 11), (11, 10), (0, 11))[axis]
                low, high = (float(chunk[f"{end}_{prefix}{name}"][block]) for end in ("min", "max"))
                level = (packed >> shift & (2**size - 1)) / (2**size - 1)
                close(low + level * (high - low), values[i, axis], 0.51 * (high - low) / (2**size - 1))
        packed = int(vertex["packed_color"][i])
        for axis, name in enumerate("rgb"):
            low, high = (float(chunk[f"{end}_{name}"][block]) for end in ("min", "max"))
            close(low + (packed >> (24 - 8 * axis) & 255) / 255 * (high - low), colour[i, axis], 0.51 / 255)
        close((packed & 255) / 255, gaussians.opacities[i], 0.51 / 255)
        if degree:
            levels = np.array([data["sh"][f"f_rest_{k}"][i] for k in range(3 * ((degree + 1) ** 2 - 1))], float)
            close(((levels + 0.5) / 256 - 0.5) * 8, gaussians.harmonics[i, 1:].T.reshape(-1), 4 / 256 + 1e-6)


@pytest.mark.parametrize("degree", [0, 1, 3])
def test_sog_is_the_bundle_of_the_specification(tmp_path: Path, degree: int) -> None:
    gaussians = sorted_as_written(90, degree)
    export.write_sog(gaussians, tmp_path / "g.sog")
    with zipfile.ZipFile(tmp_path / "g.sog") as bundle:
        meta = json.loads(bundle.read("meta.json"))
        pictures = {
            name: np.asarray(Image.open(io.BytesIO(bundle.read(name)))) for name in bundle.namelist() if "webp" in name
        }
    assert (meta["version"], meta["count"]) == (2, 90)
    rows = {name: picture.reshape(-1, picture.shape[-1]) for name, picture in pictures.items()}
    low, high = (np.array(meta["means"][end]) for end in ("mins", "maxs"))
    level = (rows["means_l.webp"][:90].astype(int) + 256 * rows["means_u.webp"][:90].astype(int)) / 65535
    curved = low + level * (high - low)
    close(np.sign(curved) * (np.exp(np.abs(curved)) - 1), gaussians.means, 1e-4)
    close(np.array(meta["scales"]["codebook"])[rows["scales.webp"][:90]], gaussians.scales.log(), 0.02)
    close(np.array(meta["sh0"]["codebook"])[rows["sh0.webp"][:90, :3]], gaussians.harmonics[:, 0], 0.03)
    close(rows["sh0.webp"][:90, 3] / 255, gaussians.opacities, 0.51 / 255)
    for row, rotation in zip(rows["quats.webp"][:90], gaussians.rotations, strict=True):
        a, b, c = (row[:3] / 255 - 0.5) * np.sqrt(2)
        wxyz = [a, b, c]
        wxyz.insert(row[3] - 252, np.sqrt(1 - a * a - b * b - c * c))
        close(shape_of(torch.tensor(wxyz)), shape_of(rotation), 0.03)
    if degree:
        count = (degree + 1) ** 2 - 1
        assert meta["shN"]["bands"] == degree
        label = rows["shN_labels.webp"][:90, 0].astype(int) + 256 * rows["shN_labels.webp"][:90, 1].astype(int)
        for i in range(90):
            column, line = label[i] % 64 * count, label[i] // 64
            entry = pictures["shN_centroids.webp"][line, column : column + count, :3]
            close(np.array(meta["shN"]["codebook"])[entry], gaussians.harmonics[i, 1:], 0.05)


@pytest.mark.slow
@pytest.mark.skipif(SPLAT_TRANSFORM is None, reason="npm install -g @playcanvas/splat-transform")
@pytest.mark.parametrize("degree", range(4))
@pytest.mark.parametrize("name", [name for name in export.FORMATS if name != "lgm_ply"])
def test_splat_transform_reads_the_same(tmp_path: Path, name: str, degree: int) -> None:
    path = tmp_path / f"g{export.FORMATS[name].suffix}"
    export.write_gaussians(sorted_as_written(300, degree), path)
    subprocess.run([str(SPLAT_TRANSFORM), "-w", path, tmp_path / "out.ply"], check=True, capture_output=True)
    ours, found = export.read_gaussians(path), export.read_ply(tmp_path / "out.ply")
    found = found[torch.cdist(ours.means.double(), found.means.double()).argmin(dim=1)]
    close(found.means, ours.means, 1e-5)
    close(found.scales / ours.scales, torch.ones_like(ours.scales), 1e-4)
    close(found.opacities, ours.opacities, 1e-4)
    close(found.harmonics, ours.harmonics, 1e-4)
    close(covariances(found), covariances(ours), 3e-5)


def test_a_version_2_spz_of_the_description_is_read(tmp_path: Path) -> None:
    header = struct.pack("<IIIBBBB", 0x5053474E, 2, 1, 0, 8, 1, 0)
    position = b"".join(int(value * 256).to_bytes(3, "little", signed=True) for value in (1.5, -2.0, 0.25))
    body = position + bytes([51]) + bytes([128, 255, 0]) + bytes([160, 144, 176]) + bytes([255, 128, 128])
    (tmp_path / "g.spz").write_bytes(gzip.compress(header + body))
    found = export.read_spz(tmp_path / "g.spz")
    close(found.means, [[1.5, 2.0, -0.25]], 1e-6)
    close(found.opacities, [0.2], 1e-6)
    close(found.scales.log(), [[0.0, -1.0, 1.0]], 1e-6)
    close(found.rotations.abs(), [[0, 1, 0, 0]], 0.01)
    close(found.harmonics[0, 0], [0.5 / 255 / 0.15, 0.5 / 0.15, -0.5 / 0.15], 1e-5)
