"""Checkpoints in parts come back whole, and run no code."""

import json
import os
import pickle
import zlib
from pathlib import Path

import pytest
import torch

from gslrm.errors import UserError
from gslrm.model.sharded import COMPLETE_FILE, LIST_FILE, read_sharded, write_sharded


@pytest.fixture
def parts(tmp_path) -> Path:
    content = {
        "model": {"a": torch.arange(6.0).reshape(2, 3)},
        "optimizer": {"state": {0: {"step": torch.tensor(1.0)}}},
    }
    write_sharded(content | {"config": {"x": (1, 2)}, "fwdbwd_pass_step": 3}, tmp_path / "parts")
    return tmp_path / "parts"


def test_parts_come_back_as_they_were(parts):
    content = read_sharded(parts)
    assert torch.equal(content["model"]["a"], torch.arange(6.0).reshape(2, 3))
    assert content["optimizer"]["state"][0]["step"] == 1
    assert (content["config"], content["fwdbwd_pass_step"]) == ({"x": (1, 2)}, 3)


def vouch_for(parts: Path) -> None:
    """Make the list of checksums fit, as whoever plants a bomb would."""
    files = [path for path in parts.iterdir() if path.name != COMPLETE_FILE]
    (parts / COMPLETE_FILE).write_text(json.dumps({path.name: zlib.crc32(path.read_bytes()) for path in files}))


class Bomb:
    def __reduce__(self):
        return os.system, ("touch $BOMB",)


@pytest.mark.parametrize("name", [LIST_FILE, "plain.pt", "__0_0.distcp"])
def test_a_pickle_bomb_among_the_parts_is_refused_and_does_not_go_off(parts, tmp_path, monkeypatch, name):
    monkeypatch.setenv("BOMB", str(tmp_path / "went_off"))
    (parts / name).write_bytes(pickle.dumps(Bomb()))
    vouch_for(parts)
    with pytest.raises(UserError, match="parts: not a readable checkpoint folder"):
        read_sharded(parts)
    assert not (tmp_path / "went_off").exists()


def test_a_list_of_parts_that_promises_pickled_values_is_refused(parts, tmp_path, monkeypatch):
    """Values that are no tensors are unpickled by torch.distributed.checkpoint without any restriction."""
    from torch.distributed import checkpoint as dcp

    monkeypatch.setenv("BOMB", str(tmp_path / "went_off"))
    dcp.save({"model/a": Bomb()}, checkpoint_id=parts, no_dist=True)
    vouch_for(parts)
    with pytest.raises(UserError, match="BytesStorageMetadata"):
        read_sharded(parts)
    assert not (tmp_path / "went_off").exists()


@pytest.mark.parametrize("name", [LIST_FILE, "plain.pt", "__0_0.distcp", COMPLETE_FILE])
def test_missing_cut_and_flipped_parts_are_named(parts, name):
    whole = (parts / name).read_bytes()
    (parts / name).write_bytes(whole[:20] + bytes([whole[20] ^ 1]) + whole[21:])
    with pytest.raises(UserError, match="parts: not a readable checkpoint folder"):
        read_sharded(parts)
    (parts / name).write_bytes(whole)
    (parts / name).write_bytes((parts / name).read_bytes()[:-7])
    with pytest.raises(UserError, match="parts: not a readable checkpoint folder"):
        read_sharded(parts)
    (parts / name).unlink()
    with pytest.raises(UserError, match=f"parts: .*{name}"):
        read_sharded(parts)


def test_a_part_that_cannot_be_written_is_an_error_of_the_disk(tmp_path):
    (tmp_path / "parts").write_text("a file where the folder should be")
    with pytest.raises(OSError, match="parts"):
        write_sharded({"model": {"a": torch.ones(2)}}, tmp_path / "parts")


def test_a_full_disk_is_an_error_of_the_disk(tmp_path, monkeypatch):
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("torch.distributed.checkpoint.filesystem.os.fsync", full)
    with pytest.raises(OSError, match="No space left on device"):
        write_sharded({"model": {"a": torch.ones(2)}}, tmp_path / "parts")
