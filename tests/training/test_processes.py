"""Several processes train what one trains: the same batches, losses, weights, scores and checkpoints."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from helpers import ring, write_ball_sample
from process_helpers import ROOT, launch, lines, settings, shared, start, train

from gslrm.data.sampler import StreamSampler
from gslrm.errors import UserError
from gslrm.model.weights import read_checkpoint_file
from gslrm.training.plain_weights import plain_weights
from gslrm.training.processes import ALONE, Processes, merge

STRATEGIES = ("ddp", "fsdp")
MIDDLE = 4  # pass after which runs are taken over
LORA = {"lora": {"rank": 2, "alpha": 4}, "l2sp_weight": 0.1, "ema": {"decay": 0.9}}


@pytest.fixture(scope="module")
def samples(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("samples")
    for number in range(5):  # not a multiple of the batch, so batches cross epochs
        write_ball_sample(
            folder / f"sample_{number:03d}", ring(6, size=32), radius=22.0 + 3 * number, colour=(90, 60, 40 * number)
        )
    return folder


@pytest.fixture(scope="module")
def whole(samples) -> dict:
    """The configuration of one process; three samples are validated, which two processes cannot share evenly."""
    validation = {"enabled": True, "dataset_path": str(samples), "max_samples": 3, "val_every": 3}
    return settings(samples) | {"validation": validation}


@pytest.fixture(scope="module")
def alone(whole, tmp_path_factory) -> Path:
    """The folder of the run of one process."""
    folder = tmp_path_factory.mktemp("alone")
    train(whole, folder)
    return folder


@pytest.fixture(scope="module")
def runs(whole, alone, samples, tmp_path_factory) -> dict[str, tuple[Path, dict, dict]]:
    """Runs of two processes by name: folder, and what each process says in the end. One start serves them all."""
    folder = tmp_path_factory.mktemp("together")
    plain = settings(samples)
    taken_over, weights = checkpoint(alone, MIDDLE), checkpoint(alone, 6)
    jobs: dict[str, dict] = {}
    for strategy in STRATEGIES:
        jobs[strategy] = {"config": shared(whole, strategy)}
        jobs[f"{strategy} sharded"] = {"config": shared(plain, strategy, checkpointing={"sharded": True})}
        jobs[f"{strategy} after one"] = {"config": shared(plain, strategy), "begin": taken_over}
        for what in ("loss", "gradient"):
            spoil = {"rank": 1, "pass": 4, "what": what}
            jobs[f"{strategy} spoiled {what}"] = {"config": shared(plain, strategy), "spoil": spoil}
        adapted = shared(settings(samples, adapt=LORA, schedule={"max_fwdbwd_passes": 4}), strategy)
        jobs[f"{strategy} adapted"] = {"config": adapted, "load": weights}
        frozen = settings(samples, adapt={"preset": "decoder_only"}, schedule={"max_fwdbwd_passes": 4})
        jobs[f"{strategy} frozen"] = {"config": shared(frozen, strategy), "load": weights}
    sharded = "checkpoints/ckpt_0000000000000004"
    for strategy, other in (STRATEGIES, STRATEGIES[::-1]):
        begin = folder / f"{other} sharded" / sharded
        jobs[f"{strategy} after {other}"] = {"config": shared(plain, strategy), "begin": begin}
    listed = [{**job, "folder": folder / name} for name, job in jobs.items()]
    first, second = launch(listed, folder)
    return {name: (folder / name, a, b) for name, a, b in zip(jobs, first, second, strict=True)}


def checkpoint(folder: Path, step: int) -> Path:
    (path,) = (folder / "checkpoints").glob(f"ckpt_{step:016d}*")
    return path


def figures(entry: dict) -> dict:
    """What does not depend on the clock."""
    return {name: value for name, value in entry.items() if "time" not in name and "memory" not in name}


def curve(folder: Path) -> list[float]:
    return [entry["train/loss"] for entry in lines(folder) if "train/loss" in entry]


def assert_same_weights(one: dict, other: dict, *, within: float) -> None:
    assert one["model"].keys() == other["model"].keys()
    for name, value in one["model"].items():
        torch.testing.assert_close(other["model"][name], value, rtol=0, atol=within)


def test_the_parts_of_all_processes_are_the_batch_of_one():
    parts = [list(StreamSampler(5, batch_size=2, seed=3, start=1, stop=9, rank=rank, processes=3)) for rank in range(3)]
    together = [a + b + c for a, b, c in zip(*parts, strict=True)]
    assert together == list(StreamSampler(5, batch_size=6, seed=3, start=1, stop=9))


def test_what_is_shared_out_is_merged_in_order():
    for count in (1, 2, 3, 8):
        shares = [Processes(rank, count).share_of(range(5)) for rank in range(count)]
        assert merge(shares) == list(range(5))


def test_a_process_alone_needs_no_group():
    assert ALONE.all(True)
    assert not ALONE.all(False)
    assert ALONE.gather("x") == ["x"]
    assert not torch.distributed.is_initialized()


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_two_processes_have_the_curve_of_one_with_the_whole_batch(alone, runs, strategy):
    """Losses, norms, overlap and scores: terms that divide by pixels or Gaussians of the batch do so over all of it."""
    one, two = lines(alone), lines(runs[strategy][0])
    assert len(one) == len(two)
    for a, b in zip(map(figures, one), map(figures, two), strict=True):
        assert a.keys() == b.keys()
        assert {k: v for k, v in b.items() if not isinstance(v, float)} == {
            k: v for k, v in a.items() if not isinstance(v, float)
        }
        numbers = [name for name, value in a.items() if isinstance(value, float)]
        assert [b[name] for name in numbers] == pytest.approx([a[name] for name in numbers], rel=1e-5, abs=1e-6)


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_validation_counts_each_sample_once(alone, runs, strategy):
    """Three samples, two processes: the scores are those of one process."""
    one, two = ([entry for entry in lines(folder) if "val/psnr" in entry] for folder in (alone, runs[strategy][0]))
    assert len(one) == len(two) == 2
    for a, b in zip(one, two, strict=True):
        assert b == pytest.approx(a, rel=1e-5, abs=1e-6)
    first, again = (entry["val/white_psnr"] for entry in two)  # baselines do not depend on weights
    assert first == again == one[0]["val/white_psnr"]


def test_all_processes_hold_the_same_weights_and_moments(runs):
    for folder, first, second in runs.values():
        assert first["digest"] == second["digest"], folder.name
        assert first["passes"] == second["passes"]
        assert first["random"] != second["random"], folder.name


def test_fsdp_holds_half_of_the_network_in_each_of_two_processes(runs):
    assert runs["fsdp"][1]["held"] == runs["ddp"][1]["held"] / 2


@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize("what", ["loss", "gradient"])
def test_what_is_not_finite_in_one_process_is_skipped_by_all(runs, strategy, what):
    """A gradient may be so in one element alone, which one process alone holds with fsdp: all lower the loss scale."""
    folder, first, second = runs[f"{strategy} spoiled {what}"]
    assert (first["passes"], first["updates"]) == (second["passes"], second["updates"]) == (6, 2)
    assert first["scale"] == second["scale"] == (2.0**15 if what == "gradient" else 1)
    assert lines(folder)[-1]["train/skipped_total"] == 1
    weights = read_checkpoint_file(checkpoint(folder, 6))["model"]
    assert all(value.isfinite().all() for value in weights.values())


@pytest.mark.parametrize("kind", ["adapted", "frozen"])
def test_lora_and_frozen_parts_train_alike_by_one_and_two_processes(alone, runs, samples, tmp_path, kind):
    adapt = LORA if kind == "adapted" else {"preset": "decoder_only"}
    config = settings(samples, adapt=adapt, schedule={"max_fwdbwd_passes": 4})
    train(config, tmp_path, load=checkpoint(alone, 6))
    for strategy in STRATEGIES:
        other = runs[f"{strategy} {kind}"][0]
        assert curve(other) == pytest.approx(curve(tmp_path), rel=1e-5)
        assert_same_weights(plain_weights(checkpoint(tmp_path, 4)), plain_weights(checkpoint(other, 4)), within=2e-5)


@pytest.mark.parametrize("name", ["ddp", "fsdp", "ddp sharded", "fsdp sharded"])
def test_one_process_goes_on_from_the_checkpoint_of_two(alone, runs, samples, tmp_path, name):
    folder, _, _ = runs[name]
    train(settings(samples), tmp_path, begin=checkpoint(folder, MIDDLE))
    ends = read_checkpoint_file(checkpoint(alone, 6)), read_checkpoint_file(checkpoint(tmp_path, 6))
    assert_same_weights(*ends, within=1e-5)
    for index, moments in ends[0]["optimizer"]["state"].items():
        torch.testing.assert_close(ends[1]["optimizer"]["state"][index], moments, rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize("name", ["ddp after one", "fsdp after one", "ddp after fsdp", "fsdp after ddp"])
def test_two_processes_go_on_from_the_checkpoint_of_others(alone, runs, name):
    folder, first, _ = runs[name]
    assert first["passes"] == 6
    assert len(lines(folder)) == 2  # passes 5 and 6
    assert_same_weights(
        read_checkpoint_file(checkpoint(alone, 6)), read_checkpoint_file(checkpoint(folder, 6)), within=1e-5
    )


def test_a_checkpoint_in_parts_holds_what_one_in_a_file_holds(runs):
    for strategy in STRATEGIES:
        file = read_checkpoint_file(checkpoint(runs[f"{strategy} after one"][0], 6))
        parts = read_checkpoint_file(checkpoint(runs[f"{strategy} sharded"][0], 6))
        assert file.keys() == parts.keys()
        assert file["optimizer"]["param_groups"] == parts["optimizer"]["param_groups"]
        assert_same_weights(file, parts, within=1e-6)
        assert plain_weights(checkpoint(runs[f"{strategy} sharded"][0], 6))["model"].keys() == file["model"].keys()


def test_another_size_of_batch_is_refused_with_both_sizes(alone, samples, tmp_path):
    smaller = settings(samples, dataloader={"batch_size_per_gpu": 2})
    with pytest.raises(UserError, match=r"passes took 4 samples, now they take 2 .*--load"):
        train(smaller, tmp_path, begin=checkpoint(alone, MIDDLE))


@pytest.mark.parametrize("own", [True, pytest.param(False, marks=pytest.mark.slow)])
def test_the_error_of_a_process_ends_all_and_is_told_once(tmp_path, own):
    """Of one process's own, a sample that it alone reads, or of all at once, a configuration that is not there."""
    for number in range(4):
        sample = write_ball_sample(tmp_path / f"data/sample_{number}", ring(6, size=32))
    image = sample.parent / "sample_1/images/cam_001.png"
    image.write_bytes(image.read_bytes()[:90])
    (tmp_path / "c.yaml").write_text(json.dumps(shared(settings(tmp_path / "data"))))
    config, sentence = ("c.yaml", str(image)) if own else ("none.yaml", "none.yaml: no such file")
    command = [str(ROOT / "train_gslrm.py"), "--config", str(tmp_path / config), "--run-dir", str(tmp_path / "run")]
    began = time.monotonic()
    running = start(command, processes=2)
    text = "".join(process.communicate(timeout=280)[0] for process in running)
    assert [process.returncode for process in running] == [2, 2], text
    assert text.count("error:") == 1, text
    assert sentence in text
    assert "Traceback" not in text, text
    assert time.monotonic() - began < 280  # most of it imports; a hang would last 1800 s, as long as the timeout


@pytest.mark.slow
@pytest.mark.parametrize("strategy", STRATEGIES)
def test_a_killed_worker_is_started_again_and_the_run_ends_as_if_nothing_had_happened(samples, tmp_path, strategy):
    mapping = settings(samples, schedule={"max_fwdbwd_passes": 40})
    (tmp_path / "c.yaml").write_text(json.dumps(shared(mapping, strategy)))
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    train_it = [str(ROOT / "train_gslrm.py"), "--config", str(tmp_path / "c.yaml"), "--run-dir"]
    subprocess.run([*launcher, *train_it, str(tmp_path / "whole")], cwd=ROOT, check=True, capture_output=True)
    process = subprocess.Popen([*launcher, "--max-restarts", "3", *train_it, str(tmp_path / "killed")], cwd=ROOT)
    middle = tmp_path / "killed/checkpoints" / f"ckpt_{12:016d}.pt"
    while not middle.exists():
        assert process.poll() is None
        time.sleep(0.02)
    children = subprocess.run(
        ["ps", "-o", "pid=", "--ppid", str(process.pid)], capture_output=True, text=True, check=True
    )
    os.kill(int(children.stdout.split()[-1]), 9)
    assert process.wait(timeout=300) == 0
    ends = [read_checkpoint_file(tmp_path / name / "checkpoints/latest") for name in ("whole", "killed")]
    assert ends[1]["fwdbwd_pass_step"] == 40
    assert_same_weights(*ends, within=0)


@pytest.mark.slow
def test_a_signal_to_one_process_stops_all_with_a_checkpoint_and_the_same_command_goes_on(samples, tmp_path):
    (tmp_path / "c.yaml").write_text(json.dumps(shared(settings(samples, schedule={"max_fwdbwd_passes": 60}))))
    train_it = [str(ROOT / "train_gslrm.py"), "--config", str(tmp_path / "c.yaml"), "--run-dir"]
    for process in start([*train_it, str(tmp_path / "whole")], processes=2):
        assert process.communicate(timeout=280) and process.returncode == 0
    running = start([*train_it, str(tmp_path / "stopped")], processes=2)
    while not (tmp_path / "stopped/checkpoints" / f"ckpt_{8:016d}.pt").exists():
        assert all(process.poll() is None for process in running)
        time.sleep(0.02)
    running[1].send_signal(signal.SIGUSR1)
    text = "".join(process.communicate(timeout=280)[0] for process in running)
    assert [process.returncode for process in running] == [75, 75], text
    assert 8 <= read_checkpoint_file(tmp_path / "stopped/checkpoints/latest")["fwdbwd_pass_step"] < 60
    for process in start([*train_it, str(tmp_path / "stopped")], processes=2):
        assert process.communicate(timeout=280) and process.returncode == 0
    ends = [read_checkpoint_file(tmp_path / name / "checkpoints/latest") for name in ("whole", "stopped")]
    assert_same_weights(*ends, within=0)
