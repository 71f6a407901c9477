"""A damaged checkpoint is named and never used; one that is an attack runs nothing."""

import contextlib
import json
import os
import pickle
import runpy
import sys
from pathlib import Path

import pytest
import torch
from training_helpers import ROOT, configure, differences, run, settings

from gslrm.errors import UserError
from gslrm.model.weights import read_checkpoint_file
from gslrm.training.resume import resume
from gslrm.training.trainer import Trainer

STATE = {
    "model": {"w": torch.arange(300.0).reshape(20, 15), "b": torch.arange(7.0)},
    "optimizer": {"state": {0: {"exp_avg": torch.ones(20, 15), "step": torch.tensor(3.0)}}, "lr": [0.1, (0.9, 0.95)]},
    "config": {"name": "run", "sizes": [1, 2, 3]},
}


def used_wrongly(path: Path, content: bytes) -> bool:
    """Whether what is read from these bytes is neither refused nor the state that was written."""
    path.write_bytes(content)
    try:
        return bool(differences(read_checkpoint_file(path), STATE))
    except UserError:
        return False


@pytest.fixture(scope="module")
def written(tmp_path_factory) -> bytes:
    path = tmp_path_factory.mktemp("written") / "state.pt"
    torch.save(STATE, path)
    return path.read_bytes()


def test_a_flipped_bit_anywhere_is_harmless_or_refused(tmp_path, written):
    """Every 7th byte; torch itself reads the tensors' checksums nowhere."""
    path = tmp_path / "flipped.pt"
    wrong = []
    for offset in range(0, len(written), 7):
        content = bytearray(written)
        content[offset] ^= 1 << (offset % 8)
        if used_wrongly(path, bytes(content)):
            wrong.append(offset)
    assert wrong == []


def test_a_flipped_bit_of_a_tensor_is_refused_although_torch_would_take_it(tmp_path, written):
    path = tmp_path / "flipped.pt"
    content = bytearray(written)
    content[written.index(torch.arange(300.0).numpy().tobytes()) + 600] ^= 1
    path.write_bytes(content)
    assert not torch.equal(torch.load(path, weights_only=True)["model"]["w"], STATE["model"]["w"])
    with pytest.raises(UserError, match=r"flipped.pt: not a readable checkpoint .the checksum of .*/data/\d is wrong"):
        read_checkpoint_file(path)


def test_every_field_of_the_list_of_parts_is_harmless_or_refused(tmp_path, written):
    path = tmp_path / "flipped.pt"
    start = written.index(b"PK\x01\x02")
    for offset in range(start, len(written)):
        for bit in (0, 4):
            content = bytearray(written)
            content[offset] ^= 1 << bit
            assert not used_wrongly(path, bytes(content)), (offset - start, bit)


def test_a_file_that_was_cut_anywhere_is_refused(tmp_path, written):
    path = tmp_path / "cut.pt"
    for length in range(0, len(written), 41):
        path.write_bytes(written[:length])
        with pytest.raises(UserError, match=r"cut.pt: "):
            read_checkpoint_file(path)


def damage(kind: str, path: Path) -> None:
    content = bytearray(path.read_bytes())
    if kind == "flipped":
        content[len(content) // 2] ^= 1
    path.write_bytes(
        {"empty": b"", "cut": content[: len(content) // 2], "zeros": bytes(len(content))}.get(kind, content)
    )


@pytest.mark.parametrize("kind", ["empty", "cut", "zeros", "flipped"])
def test_a_corrupt_newest_checkpoint_is_named_and_the_one_before_is_used(samples, tmp_path, caplog, kind):
    config = configure(samples)
    run(config, tmp_path)
    end = read_checkpoint_file(tmp_path / "checkpoints/latest")["model"]
    newest = tmp_path / "checkpoints/ckpt_0000000000000008.pt"
    damage(kind, newest)
    trainer = Trainer(config, tmp_path)
    resume(trainer, "auto")
    assert trainer.position.passes == 4
    assert "ckpt_0000000000000008.pt" in caplog.text
    assert "trying the one before" in caplog.text
    assert trainer.run()
    assert differences(read_checkpoint_file(newest)["model"], end) == []


def test_a_run_whose_checkpoints_are_all_corrupt_does_not_begin_anew(samples, tmp_path):
    run(configure(samples), tmp_path)
    for path in (tmp_path / "checkpoints").glob("ckpt_*.pt"):
        path.write_bytes(b"")
    with pytest.raises(UserError, match="none of its 2 checkpoints can be read"):
        resume(Trainer(configure(samples), tmp_path), "auto")


class Bomb:
    """Makes a folder when it is unpickled."""

    def __init__(self, proof: Path) -> None:
        self.proof = proof

    def __reduce__(self) -> tuple:
        return (os.mkdir, (str(self.proof),))


def as_a_pickle(bomb: Bomb, path: Path) -> None:
    path.write_bytes(pickle.dumps({"model": {"w": bomb}}))


def in_the_old_format(bomb: Bomb, path: Path) -> None:
    torch.save({"model": {"w": bomb}}, path, _use_new_zipfile_serialization=False)


def among_plain_values(bomb: Bomb, path: Path) -> None:
    ours = {"optimizer": {}, "fwdbwd_pass_step": 1, "param_update_step": 1, "random_state": {}}
    torch.save({"model": {"w": torch.ones(2)}, "config": {"debug": bomb}, **ours}, path)


ATTACKS = pytest.mark.parametrize("attack", [as_a_pickle, in_the_old_format, among_plain_values])


@ATTACKS
def test_a_bomb_goes_off_where_nobody_cares(tmp_path, attack):
    attack(Bomb(tmp_path / "proof"), tmp_path / "bomb.pt")
    with contextlib.suppress(RuntimeError):  # what follows it is no checkpoint
        torch.load(tmp_path / "bomb.pt", weights_only=False)
    assert (tmp_path / "proof").exists()


@ATTACKS
@pytest.mark.parametrize(
    "command",
    [
        ("train_gslrm.py", "--config", "C", "--run-dir", "OUT", "--resume", "BOMB"),
        ("train_gslrm.py", "--config", "C", "--run-dir", "OUT", "--load", "BOMB"),
        ("train_gslrm.py", "--config", "C", "--run-dir", "OWN"),
        ("inference.py", "--checkpoint", "BOMB", "--input", "DATA", "--output", "OUT"),
        ("scripts/evaluate.py", "--checkpoint", "BOMB", "--data", "DATA", "--json", "OUT"),
        ("scripts/export_weights.py", "--checkpoint", "BOMB", "--output", "OUT"),
    ],
    ids=["resume", "load", "go on", "inference", "evaluate", "export"],
)
def test_a_bomb_is_refused_with_a_sentence_and_runs_nothing(samples, tmp_path, capsys, attack, command):
    proof, bomb = tmp_path / "proof", tmp_path / "own/checkpoints/ckpt_0000000000000004.pt"
    bomb.parent.mkdir(parents=True)
    attack(Bomb(proof), bomb)
    (tmp_path / "c.yaml").write_text(json.dumps(settings(samples)))
    places = {"BOMB": bomb, "C": tmp_path / "c.yaml", "OWN": tmp_path / "own", "OUT": tmp_path / "out", "DATA": samples}
    status = call(command[0], *(places.get(word, word) for word in command[1:]))
    err = capsys.readouterr().err
    assert status == 2
    assert not proof.exists()
    assert "error: " in err
    assert "Traceback" not in err
    assert str(places["BOMB"].name) in err.replace("\n", "")


def call(script: str, *arguments: object) -> int:
    """Run a script in this process; returns its exit status."""
    argv, sys.argv = sys.argv, [script, *map(str, arguments)]
    try:
        runpy.run_path(str(ROOT / script), run_name="__main__")
    except SystemExit as error:
        return int(error.code or 0)
    finally:
        sys.argv = argv
    return 0
