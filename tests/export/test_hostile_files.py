"""Damaged or hostile files end in one sentence that names them, in little memory."""

import gzip
import io
import json
import struct
import tracemalloc
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from export_helpers import FIELDS, mouse_like
from PIL import Image

from gslrm import export
from gslrm.errors import UserError

BINARY = ("ply", "compressed_ply", "splat", "spz", "sog")
MEMORY = 50_000_000  # bytes; every hostile file here promises more than that many Gaussians


def whole(folder: Path, name: str, degree: int = 1) -> bytes:
    export.write_gaussians(mouse_like(300, degree), folder / "whole", name)
    return (folder / "whole").read_bytes()


def refusal(path: Path, read: Callable[[Path], object] = export.read_gaussians) -> str:
    """What the reader says; it must not need much memory to say it."""
    tracemalloc.start()
    try:
        with pytest.raises(UserError) as caught:
            read(path)
        assert tracemalloc.get_traced_memory()[1] < MEMORY
    finally:
        tracemalloc.stop()
    assert path.name in str(caught.value)
    assert ";" in str(caught.value), "the fix comes after a semicolon"
    return str(caught.value)


@pytest.mark.parametrize("name", BINARY)
@pytest.mark.parametrize("share", [0.0, 0.01, 0.5, 0.99])
def test_a_file_that_is_cut_short_is_refused(tmp_path: Path, name: str, share: float) -> None:
    data = whole(tmp_path, name)
    (tmp_path / "cut.bin").write_bytes(data[: int(share * len(data)) // 32 * 32 + 5])
    refusal(tmp_path / "cut.bin")


@pytest.mark.parametrize("name", BINARY)
def test_noise_in_a_file_is_refused_or_gives_numbers(tmp_path: Path, name: str) -> None:
    rng = np.random.default_rng(0)
    data = np.frombuffer(whole(tmp_path, name), np.uint8)
    path = tmp_path / "noise.bin"
    for trial in range(60):
        changed = data.copy()
        first = 0 if trial % 2 else min(400, len(data) // 2)
        where = rng.integers(first, len(data), rng.integers(1, 20))
        changed[where] = rng.integers(0, 256, len(where))
        path.write_bytes(changed.tobytes())
        try:
            found = export.read_gaussians(path)
        except UserError as error:
            assert "noise.bin" in str(error)
        else:
            assert all(torch.isfinite(getattr(found, field)).all() for field in FIELDS)


@pytest.mark.parametrize(
    "content", [b"", b"\0", b"hello" * 50, b"ply\n", b"ply" + b"\n" * 5000, b"PK\3\4", b"\x1f\x8b"]
)
def test_a_file_of_something_else_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "x.ply").write_bytes(content)
    refusal(tmp_path / "x.ply")


def test_random_bytes_of_the_right_length_are_no_splat(tmp_path: Path) -> None:
    (tmp_path / "x.splat").write_bytes(np.random.default_rng(0).bytes(320))
    assert "cannot be" in refusal(tmp_path / "x.splat")
    (tmp_path / "zeros.splat").write_bytes(bytes(320))
    refusal(tmp_path / "zeros.splat")


def test_a_missing_file_and_an_empty_folder_are_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"nothing\.ply"):
        export.read_gaussians(tmp_path / "nothing.ply")
    with pytest.raises(UserError, match=r"meta\.json"):
        export.read_gaussians(tmp_path)


@pytest.mark.parametrize("count", ["99999999999999", "4000000000", "-5", "1e9", "9" * 900])
@pytest.mark.parametrize("name", ["ply", "compressed_ply"])
def test_a_ply_header_that_promises_too_much_is_refused(tmp_path: Path, name: str, count: str) -> None:
    data = whole(tmp_path, name).replace(b"element vertex 300", f"element vertex {count}".encode())
    (tmp_path / "huge.ply").write_bytes(data)
    refusal(tmp_path / "huge.ply")


def test_a_compressed_ply_without_blocks_or_with_odd_harmonics_is_refused(tmp_path: Path) -> None:
    data = whole(tmp_path, "compressed_ply")
    for old, new in (
        (b"element chunk 2", b"element chunk 1"),
        (b"float min_scale_x", b"float min_scale_q"),
        (b"uchar f_rest_8", b"ushort f_rest_8"),
        (b"property uchar f_rest_8\n", b""),
        (b"element sh 300", b"element sh 299"),
        (b"uint packed_scale", b"uint packed_position"),
    ):
        assert old in data
        (tmp_path / "odd.ply").write_bytes(data.replace(old, new) + bytes(1000))
        refusal(tmp_path / "odd.ply")


def spz(count: int, *, version: int = 3, degree: int = 0, bits: int = 12, flags: int = 0, body: bytes = b"") -> bytes:
    return gzip.compress(struct.pack("<4sIIBBBB", b"NGSP", version, count, degree, bits, flags, 0) + body)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (spz(2**32 - 1), "cut short"),
        (spz(100_000_000, body=bytes(30_000_000)), "cut short"),
        (spz(1, version=9), "version 9"),
        (spz(1, degree=200), "degree 200"),
        (spz(1, bits=200), "200 fractional bits"),
        (spz(1, flags=2, body=bytes(100)), "extensions"),
        (b"NGSP" + bytes(100), "version 4"),
        (gzip.compress(b"something else altogether"), "no .spz"),
        (spz(3, body=bytes(59)), "cut short"),
    ],
)
def test_a_hostile_spz_is_refused(tmp_path: Path, content: bytes, reason: str) -> None:
    (tmp_path / "x.spz").write_bytes(content)
    assert reason in refusal(tmp_path / "x.spz")


def test_a_damaged_gzip_stream_is_refused(tmp_path: Path) -> None:
    data = bytearray(whole(tmp_path, "spz"))
    data[10:40] = zlib.compress(b"x" * 1000)[:30]
    (tmp_path / "x.spz").write_bytes(bytes(data))
    refusal(tmp_path / "x.spz")


def sog(folder: Path, change: Callable[[dict], None], pictures: dict[str, bytes] | None = None) -> Path:
    """A bundle with another `meta.json`, with other pictures."""
    (folder / "good").write_bytes(whole(folder, "sog"))
    with zipfile.ZipFile(folder / "good") as good, zipfile.ZipFile(folder / "x.sog", "w") as bad:
        contents = {name: good.read(name) for name in good.namelist()} | (pictures or {})
        meta = json.loads(contents["meta.json"])
        change(meta)
        contents["meta.json"] = json.dumps(meta).encode()
        for name, content in contents.items():
            bad.writestr(name, content)
    return folder / "x.sog"


def picture(width: int, height: int) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGBA", (width, height), (1, 2, 3, 255)).save(buffer, format="WEBP", lossless=True)
    return buffer.getvalue()


@pytest.mark.parametrize(
    "change",
    [
        lambda meta: meta.update(count=10**9),
        lambda meta: meta.update(count=-1),
        lambda meta: meta.update(count="300"),
        lambda meta: meta.update(count=10_000),
        lambda meta: meta.update(version=1),
        lambda meta: meta.pop("means"),
        lambda meta: meta.update(means=[]),
        lambda meta: meta["means"].update(mins=[0, 0]),
        lambda meta: meta["means"].update(mins=[1e9, 0, 0], maxs=[1e9, 0, 0]),
        lambda meta: meta["scales"].update(codebook=[1.0] * 5),
        lambda meta: meta["scales"].update(codebook=[float("nan")] * 256),
        lambda meta: meta["quats"].update(files=["sh0.webp"]),
        lambda meta: meta["quats"].update(files=["../../etc/passwd"]),
        lambda meta: meta["quats"].update(files=[]),
        lambda meta: meta["shN"].update(bands=7),
        lambda meta: meta["shN"].update(bands=3),
        lambda meta: meta["shN"].update(count=70_000),
        lambda meta: meta["shN"].update(count=3),
    ],
)
def test_a_hostile_sog_is_refused(tmp_path: Path, change: Callable[[dict], None]) -> None:
    refusal(sog(tmp_path, change))


def test_a_sog_with_a_picture_much_larger_than_needed_is_refused_before_it_is_decoded(tmp_path: Path) -> None:
    assert "more than" in refusal(sog(tmp_path, lambda meta: None, {"means_l.webp": picture(8000, 8000)}))
    assert "pixels for 300" in refusal(sog(tmp_path, lambda meta: None, {"means_l.webp": picture(10, 10)}))
    refusal(sog(tmp_path, lambda meta: None, {"means_l.webp": b"no picture"}))


def test_an_inflated_member_of_a_bundle_is_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "x.sog", "w", zipfile.ZIP_DEFLATED) as bundle:
        bundle.writestr("meta.json", b" " * 200_000_000)
    assert "claims to be" in refusal(tmp_path / "x.sog")


def test_an_unbundled_sog_is_read_from_its_folder(tmp_path: Path) -> None:
    (tmp_path / "scene").mkdir()
    export.write_sog(mouse_like(300, 1), tmp_path / "g.sog")
    with zipfile.ZipFile(tmp_path / "g.sog") as bundle:
        bundle.extractall(tmp_path / "scene")
    bundled = export.read_gaussians(tmp_path / "g.sog")
    for path in (tmp_path / "scene", tmp_path / "scene" / "meta.json"):
        assert torch.equal(export.read_gaussians(path).means, bundled.means)


@pytest.mark.parametrize("name", ["f_dc_0", "opacity", "x", "rot_2", "scale_1"])
def test_nan_in_a_ply_is_refused(tmp_path: Path, name: str) -> None:
    import plyfile

    export.write_ply(mouse_like(20), tmp_path / "g.ply")
    data = plyfile.PlyData.read(tmp_path / "g.ply")
    data["vertex"].data[name][7] = np.nan
    data.write(tmp_path / "nan.ply")
    assert "NaN" in refusal(tmp_path / "nan.ply")
