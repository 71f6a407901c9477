"""MATLAB files, written by other code than the package's own."""

from pathlib import Path

import h5py
import numpy as np
import scipy.io


def cell(items: list, *, column: bool = True) -> np.ndarray:
    array = np.empty((len(items), 1) if column else (1, len(items)), dtype=object)
    for index, item in enumerate(items):
        array.flat[index] = item
    return array


def save_matlab_5(path: Path, content: dict) -> Path:
    cells = {key: cell(value, column=key != "camnames") if isinstance(value, list) else value
             for key, value in content.items()}  # fmt: skip
    scipy.io.savemat(path, cells, do_compression=True)
    return path


def save_matlab_73(path: Path, content: dict) -> Path:
    """As MATLAB writes them: HDF5 behind a block of 512 bytes, arrays transposed, cells as references."""

    def put(group: h5py.Group, name: str, value: object) -> h5py.HLObject:
        if isinstance(value, dict):
            node = group.create_group(name)
            node.attrs["MATLAB_class"] = np.bytes_("struct")
            for key, item in value.items():
                put(node, key, item)
        elif isinstance(value, list):
            items = [put(hidden, f"{len(hidden)}", item).ref for item in value]
            node = group.create_dataset(name, data=np.array([items], dtype=object), dtype=h5py.ref_dtype)
            node.attrs["MATLAB_class"] = np.bytes_("cell")
        elif isinstance(value, str):
            node = group.create_dataset(name, data=np.array([[ord(letter)] for letter in value], np.uint16))
            node.attrs["MATLAB_class"] = np.bytes_("char")
        elif np.size(value) == 0:
            node = group.create_dataset(name, data=np.array(np.shape(value), np.uint64))
            node.attrs["MATLAB_class"], node.attrs["MATLAB_empty"] = np.bytes_("double"), np.uint8(1)
        else:
            node = group.create_dataset(name, data=np.asarray(value).T)
            node.attrs["MATLAB_class"] = np.bytes_("double")
        return node

    with h5py.File(path, "w", userblock_size=512) as file:
        hidden = file.create_group("#refs#")
        for key, value in content.items():
            put(file, key, value)
    with path.open("r+b") as file:
        file.write(b"MATLAB 7.3 MAT-file, Platform: GLNXA64")
    return path
