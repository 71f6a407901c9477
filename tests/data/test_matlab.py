"""MATLAB files give what scipy reads from them, in either version and byte order; damage is refused."""

import struct

import numpy as np
import pytest
import scipy.io
from matlab_helpers import cell, save_matlab_73

from gslrm.data.formats.matlab import is_matlab, read_matlab
from gslrm.errors import UserError

VALUES = {
    "matrix": np.arange(12.0).reshape(3, 4) - 5.5,
    "column": np.arange(5, dtype=np.int32)[:, None],
    "row": np.array([[1, 2, 65535]], np.uint16),
    "single": np.array([[1.5, -2.5]], np.float32),
    "wide": np.array([[2**60, -(2**61)]], np.int64),
    "bytes": np.array([[0, 255]], np.uint8),
    "flag": np.array([[True, False]]),
    "number": np.array([[3.25]]),
    "empty": np.zeros((0, 3)),
    "cube": np.arange(24.0).reshape(2, 3, 4),
    "complex": np.array([[1 + 2j, 3 - 4j]]),
}


def same(found, expected):
    if isinstance(expected, dict):
        assert found.keys() == expected.keys()
        for key, value in expected.items():
            same(found[key], value)
    elif isinstance(expected, list):
        assert len(found) == len(expected)
        for one, other in zip(found, expected, strict=True):
            same(one, other)
    elif isinstance(expected, str):
        assert found == expected
    else:
        assert found.shape == expected.shape
        np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("compressed", [True, False])
@pytest.mark.parametrize("name", VALUES)
def test_numbers_of_every_type_are_read(name, compressed, tmp_path):
    scipy.io.savemat(tmp_path / "a.mat", VALUES, do_compression=compressed)
    same(read_matlab(tmp_path / "a.mat", [name]), {name: VALUES[name]})


@pytest.mark.parametrize("compressed", [True, False])
def test_texts_structs_and_cells_are_read(compressed, tmp_path):
    inner = {"K": VALUES["matrix"], "name": "Kamera é 鼠", "none": VALUES["empty"], "deep": {"x": VALUES["row"]}}
    content = {"one": inner, "many": cell([inner, "text", VALUES["column"]]), "text": "a", "blank": ""}
    scipy.io.savemat(tmp_path / "a.mat", content, do_compression=compressed)
    expected = {"one": inner, "many": [inner, "text", VALUES["column"]], "text": "a", "blank": ""}
    same(read_matlab(tmp_path / "a.mat", list(content)), expected)


def test_version_73_gives_the_same_as_version_5(tmp_path):
    content = {"matrix": VALUES["matrix"], "text": "abc", "struct": {"x": VALUES["column"], "y": "z"}}
    nested = content | {"list": [content, VALUES["row"], "q"], "empty": VALUES["empty"]}
    save_matlab_73(tmp_path / "new.mat", nested)
    scipy.io.savemat(tmp_path / "old.mat", nested | {"list": cell(nested["list"])})
    same(read_matlab(tmp_path / "new.mat", list(nested)), read_matlab(tmp_path / "old.mat", list(nested)))


def test_files_of_machines_with_the_other_byte_order_are_read(tmp_path):
    element = lambda kind, content: struct.pack(">II", kind, len(content)) + content + bytes(-len(content) % 8)  # noqa: E731
    flags, shape = element(6, struct.pack(">II", 6, 0)), element(5, struct.pack(">ii", 1, 2))
    matrix = flags + shape + element(1, b"x") + element(9, struct.pack(">dd", 1.5, -2.0))
    header = b"MATLAB 5.0 MAT-file".ljust(124) + struct.pack(">H", 0x0100) + b"MI"
    (tmp_path / "a.mat").write_bytes(header + element(14, matrix))
    same(read_matlab(tmp_path / "a.mat", ["x"]), {"x": np.array([[1.5, -2.0]])})


def test_what_is_not_asked_for_or_not_there_is_left_out(tmp_path):
    scipy.io.savemat(tmp_path / "a.mat", VALUES)
    assert set(read_matlab(tmp_path / "a.mat", ["row", "missing"])) == {"row"}


def test_every_single_damaged_byte_of_an_uncompressed_file_is_survived(tmp_path):
    path = tmp_path / "a.mat"
    scipy.io.savemat(path, {"s": {"K": np.arange(3.0)[None], "n": "ab"}, "c": cell(["x", np.zeros((1, 2))])})
    content, refused = path.read_bytes(), 0
    for place in range(120, len(content)):
        path.write_bytes(content[:place] + bytes([content[place] ^ 0x5A]) + content[place + 1 :])
        try:
            read_matlab(path, ["s", "c"])
        except UserError:
            refused += 1
    assert refused > 100


def test_every_cut_of_a_file_is_refused_or_gives_whole_variables(tmp_path):
    path = tmp_path / "a.mat"
    whole = {"x": np.arange(3.0)[None], "y": np.arange(4.0)[None]}
    scipy.io.savemat(path, whole)
    content = path.read_bytes()
    for length in range(len(content)):
        path.write_bytes(content[:length])
        try:
            found = read_matlab(path, ["x", "y"])
        except UserError:
            continue
        same(found, {name: whole[name] for name in found})


@pytest.mark.parametrize("content", [b"", b"MATLAB 5.0 MAT-file", bytes(200), b"\x89HDF\r\n\x1a\n", b"text" * 100])
def test_files_that_only_say_they_are_matlab_files_are_refused(content, tmp_path):
    (tmp_path / "a.mat").write_bytes(content)
    assert is_matlab(tmp_path / "a.mat")
    with pytest.raises(UserError, match=r"a\.mat: cannot be read as a MATLAB file"):
        read_matlab(tmp_path / "a.mat", ["x"])


def test_a_matlab_file_is_known_by_its_first_bytes(tmp_path):
    scipy.io.savemat(tmp_path / "five.mat", {"x": 1})
    save_matlab_73(tmp_path / "seven.mat", {"x": np.ones((1, 1))})
    for name in ("five", "seven"):
        (tmp_path / f"{name}.mat").rename(tmp_path / name)
        assert is_matlab(tmp_path / name)
    (tmp_path / "other").write_bytes(b"other")
    assert not is_matlab(tmp_path / "other")
