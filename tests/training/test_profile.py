"""Traces of passes, and clocks that name their parts in them."""

import json
import logging
from pathlib import Path

import pytest
import torch
from helpers import ring, write_ball_sample

from gslrm.config import ProfileConfig
from gslrm.config_io import config_from_mapping
from gslrm.training.cost import PassClock
from gslrm.training.profile import Tracer
from gslrm.training.trainer import Trainer

PARTS = {"forward", "render", "loss", "backward", "update"}
CPU = torch.device("cpu")


def tracer_into(folder: Path, *, wanted: bool = True, **profile: object) -> Tracer:
    return Tracer(ProfileConfig(**profile), folder, clock=PassClock(CPU), device=CPU, wanted=wanted)


def train(folder: Path, **profile: object) -> Trainer:
    write_ball_sample(folder / "samples/ball", ring(4, size=32))
    mapping = {
        "model": {
            "image_tokenizer": {"image_size": 16, "patch_size": 8},
            "transformer": {"d": 32, "d_head": 16, "n_layer": 1},
            "gaussians": {"scale_bias": -3.0},
        },
        "training": {
            "runtime": {"use_amp": False, "device": "cpu"},
            "dataset": {"dataset_path": str(folder / "samples"), "num_views": 4, "num_input_views": 3},
            "dataloader": {"num_workers": 0},
            "schedule": {"max_fwdbwd_passes": 4, "warmup": 1},
            "logging": {"wandb": {"mode": "disabled"}},
            "profile": profile,
        },
        "mouse": {"normalize_cameras": True, "object_size": 1.2, "crop_footprint": 1.5},
    }
    run_dir = folder / "run"
    run_dir.mkdir()
    trainer = Trainer(config_from_mapping(mapping, source="test"), run_dir)
    trainer.run()
    return trainer


def events(path: Path) -> list[dict]:
    return json.loads(path.read_text(encoding="utf-8"))["traceEvents"]


def spans(path: Path, name: str) -> list[tuple[float, float]]:
    return [(e["ts"], e["ts"] + e["dur"]) for e in events(path) if e.get("name") == name and e.get("ph") == "X"]


def test_a_trace_holds_the_parts_of_each_traced_pass_with_their_operators(tmp_path, caplog):
    caplog.set_level(logging.INFO, logger="gslrm")
    train(tmp_path, start=2, passes=2)
    (path,) = (tmp_path / "run/profile").iterdir()
    assert path.name == "passes_00000002_00000003.json"
    assert {name: len(spans(path, name)) for name in PARTS} == dict.fromkeys(PARTS, 2)
    assert sorted(spans(path, "backward"))[0][0] > sorted(spans(path, "loss"))[0][1]
    (first, _) = sorted(spans(path, "forward"))
    products = spans(path, "aten::mm")
    assert any(first[0] < start and end < first[1] for start, end in products)
    table = caplog.text[caplog.text.index("ms by itself") :].splitlines()[1:6]
    assert all(line.split()[1].endswith("%") for line in table)
    assert [float(line.split()[0]) for line in table] == sorted((float(x.split()[0]) for x in table), reverse=True)


def test_without_a_start_nothing_is_traced(tmp_path, monkeypatch):
    monkeypatch.setattr("gslrm.training.profile.profile", lambda **_: pytest.fail("a profiler was started"))
    train(tmp_path)
    assert not (tmp_path / "run/profile").exists()


def test_a_run_that_ends_within_the_traced_passes_writes_what_there_is(tmp_path):
    train(tmp_path, start=4, passes=100)
    (path,) = (tmp_path / "run/profile").iterdir()
    assert len(spans(path, "update")) == 1


def test_a_failure_within_the_traced_passes_keeps_the_trace(tmp_path):
    with pytest.raises(RuntimeError, match="on purpose"), tracer_into(tmp_path, start=1) as tracer:
        tracer.reach(0)
        torch.ones(3).sum()
        raise RuntimeError("on purpose")
    assert any(event.get("name") == "aten::sum" for event in events(next(tmp_path.iterdir())))


def test_a_resumed_run_that_is_past_the_passes_traces_nothing(tmp_path):
    with tracer_into(tmp_path, start=3) as tracer:
        tracer.reach(7)
    assert not list(tmp_path.iterdir())


def test_a_process_beside_the_first_traces_nothing(tmp_path):
    with tracer_into(tmp_path, start=1, wanted=False) as tracer:
        tracer.reach(0)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(("memory", "count"), [(True, "some"), (False, "none")])
def test_allocations_are_traced_on_request(tmp_path, memory, count):
    with tracer_into(tmp_path, start=1, memory=memory) as tracer:
        tracer.reach(0)
        torch.ones(1000).square()
    allocations = [event for event in events(next(tmp_path.iterdir())) if event.get("name") == "[memory]"]
    assert bool(allocations) == (count == "some")
