"""Hostile pickles do nothing, and damaged files end in one sentence that names them."""

import json
import pickle
import random
from pathlib import Path

import numpy as np
import pytest
from calibration_helpers import (
    FAMILIES,
    lab_rig,
    mammal_content,
    nerfstudio_frame,
    rig_of,
)

from gslrm.data.calibration import FORMATS, read_calibration
from gslrm.errors import UserError


class Touch:
    """Makes a file when it is unpickled."""

    def __init__(self, path: Path, how: str) -> None:
        self.path, self.how = path, how

    def __reduce__(self):
        if self.how == "system":
            import os

            return os.system, (f"touch {self.path}",)
        if self.how == "eval":
            return eval, (f"open({str(self.path)!r}, 'w')",)
        if self.how == "numpy":
            return np.savetxt, (str(self.path), [1.0])
        return Path.touch, (self.path,)


@pytest.mark.parametrize("how", ["system", "eval", "numpy", "method"])
@pytest.mark.parametrize("place", ["alone", "beside", "inside"])
def test_a_hostile_pickle_does_nothing_and_is_refused(how, place, tmp_path):
    marker, path = tmp_path / "executed", tmp_path / "new_cam.pkl"
    bad = Touch(marker, how)
    cameras = mammal_content(lab_rig(3))
    content = {"alone": bad, "beside": [*cameras, bad], "inside": [cameras[0] | {"K": bad}, *cameras[1:]]}[place]
    path.write_bytes(pickle.dumps(content))
    with pytest.raises(UserError, match=r"new_cam\.pkl.*nothing in it was executed"):
        read_calibration(path)
    assert not marker.exists()
    pickle.loads(path.read_bytes())  # the trap does work on those who trust it
    assert marker.exists()


@pytest.mark.parametrize("value", [np.array([object()]), np.array(["a"]), np.dtype("f8"), {1, 2}, 3, None, b"x", {}])
def test_pickles_of_other_things_are_refused(value, tmp_path):
    (tmp_path / "new_cam.pkl").write_bytes(pickle.dumps([value, value]))
    with pytest.raises(UserError, match=r"new_cam\.pkl"):
        read_calibration(tmp_path / "new_cam.pkl")


def damaged(content: bytes, generator: random.Random) -> bytes:
    kind = generator.randrange(4)
    place = generator.randrange(len(content))
    if kind == 0:
        return content[:place]
    if kind == 1:
        return content[:place] + bytes([generator.randrange(256)]) + content[place + 1 :]
    if kind == 2:
        return content[:place] + generator.randbytes(40) + content[place + 20 :]
    return generator.randbytes(300)


@pytest.mark.parametrize("name", FAMILIES)
def test_damaged_files_are_read_or_refused_but_never_crash(name, tmp_path):
    family, generator = FAMILIES[name], random.Random(name)
    path = family.write(tmp_path, rig_of(family))
    files = sorted(file for file in tmp_path.rglob("*") if file.is_file())
    refused = 0
    for _ in range(24):
        file = generator.choice(files)
        content = file.read_bytes()
        file.write_bytes(damaged(content, generator))
        for format_name in (None, family.format):
            try:
                read_calibration(path, format=format_name)
            except UserError:
                refused += 1
        file.write_bytes(content)
    assert refused > 20


@pytest.mark.parametrize("name", FAMILIES)
@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.9])
def test_truncated_files_are_refused(name, share, tmp_path):
    family = FAMILIES[name]
    path = family.write(tmp_path, rig_of(family))
    file = max((file for file in tmp_path.rglob("*") if file.is_file()), key=lambda file: file.stat().st_size)
    file.write_bytes(file.read_bytes()[: int(share * file.stat().st_size)])
    for format_name in (None, family.format):
        with pytest.raises(UserError, match=str(tmp_path.name)):
            read_calibration(path, format=format_name)


@pytest.mark.parametrize("name", FORMATS)
def test_a_file_of_another_format_is_refused(name, tmp_path):
    for other, family in FAMILIES.items():
        (tmp_path / other).mkdir()
        path = family.write(tmp_path / other, rig_of(family))
        if family.format != name:
            with pytest.raises(UserError):
                read_calibration(path, format=name)


def test_frames_without_names_of_pictures_are_refused(tmp_path):
    frames = [nerfstudio_frame(camera) for camera in lab_rig(3).cameras]
    del frames[2]["file_path"]
    (tmp_path / "transforms.json").write_text(json.dumps({"frames": frames}))
    with pytest.raises(UserError, match="frame 2: lacks 'file_path'"):
        read_calibration(tmp_path)
