"""Compiled networks: refused where they cannot work, and else the plain ones in everything but speed."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import yaml
from helpers import ring, write_ball_sample

from gslrm.config import Config, ModelConfig
from gslrm.errors import UserError
from gslrm.model import build_model
from gslrm.training import compilation
from gslrm.training.checkpoint import load_checkpoint
from gslrm.training.runtime import require_machine

ROOT = Path(__file__).parents[2]
needs_compiler = pytest.mark.skipif(shutil.which(os.environ.get("CXX", "g++")) is None, reason="no C++ compiler")


def test_a_machine_without_a_compiler_is_told_before_anything_is_built(monkeypatch):
    monkeypatch.setattr(compilation.shutil, "which", lambda _: None)
    runtime = {"device": "cpu", "use_amp": False, "torch_compile": True}
    with pytest.raises(UserError, match="needs a C\\+\\+ compiler and .* is not there: install one"):
        require_machine(Config.model_validate({"training": {"runtime": runtime}}))
    require_machine(Config.model_validate({"training": {"runtime": runtime | {"torch_compile": False}}}))


def test_the_compiler_that_the_user_names_is_looked_for(monkeypatch):
    monkeypatch.setenv("CXX", "no-such-compiler")
    with pytest.raises(UserError, match="no-such-compiler is not there"):
        compilation.require_compiler()


@pytest.mark.parametrize("family", ["lgm", "gslrm"])
def test_every_stage_of_lgm_may_have_code_of_its_own_with_and_without_gradients(family):
    with torch.device("meta"):
        model = build_model(ModelConfig(family=family))
    enough = 2 * len(model.blocks())
    with torch._dynamo.config.patch(recompile_limit=8):
        compilation.compile_blocks(model)
        assert enough > 8
        assert (torch._dynamo.config.recompile_limit >= enough) == (family == "lgm")  # a transformer's blocks share it


@pytest.fixture(scope="module")
def config(tmp_path_factory) -> Path:
    """Samples with more and less foreground, so that passes have different numbers of tokens; validation is on."""
    folder = tmp_path_factory.mktemp("compiled")
    for number in range(4):
        write_ball_sample(folder / f"samples/{number}", ring(6, size=64), radius=16.0 + 8 * number)
    content = {
        "base": str(ROOT / "configs/small_cpu.yaml"),
        "model": {"image_tokenizer": {"image_size": 32}, "transformer": {"d": 32, "d_head": 16, "n_layer": 3}},
        "training": {
            "runtime": {"device": "cpu", "use_amp": False, "grad_checkpoint_every": 2},
            "dataset": {"dataset_path": str(folder / "samples"), "num_input_views": 5},
            "dataloader": {"num_workers": 0},
            "optimizer": {"lr": 1e-4},
            "schedule": {"max_fwdbwd_passes": 8, "warmup": 2},
            "logging": {"wandb": {"mode": "disabled", "log_every": 1}},
        },
        "validation": {"enabled": True, "dataset_path": str(folder / "samples"), "val_every": 4, "visual_hull": False},
        "mouse": {"object_size": None},
    }
    path = folder / "config.yaml"
    path.write_text(yaml.safe_dump(content), encoding="utf-8")
    return path


def train(config: Path, run_dir: Path, *, compiled: bool, stop: int = 8) -> str:
    """A run in a process of its own, where signatures are not checked; returns what it logs."""
    options = [f"training.runtime.torch_compile={str(compiled).lower()}", f"training.schedule.early_stop_after={stop}"]
    done = subprocess.run(
        [sys.executable, "train_gslrm.py", "--config", config, "--run-dir", run_dir, "--set", *options],
        cwd=ROOT,
        env=os.environ | {"TORCH_LOGS": "recompiles,graph_code"},
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stderr


def figures(run_dir: Path, name: str) -> list[float]:
    lines = map(json.loads, (run_dir / "metrics.jsonl").read_text(encoding="utf-8").splitlines())
    return [line[name] for line in lines if name in line]


@pytest.mark.slow
@needs_compiler
@pytest.mark.parametrize("first", [True, False], ids=["compiled, then plain", "plain, then compiled"])
def test_a_run_that_changes_between_compiled_and_plain_is_the_plain_run(config, tmp_path, first):
    train(config, tmp_path / "plain", compiled=False)
    said = train(config, tmp_path / "mixed", compiled=first, stop=4)
    said += train(config, tmp_path / "mixed", compiled=not first)
    assert "TRACED GRAPH" in said
    plain, mixed = (load_checkpoint(tmp_path / name / "checkpoints/latest")["model"] for name in ("plain", "mixed"))
    assert plain.keys() == mixed.keys()
    for name, value in plain.items():
        torch.testing.assert_close(mixed[name], value, rtol=1e-3, atol=1e-5, msg=name)
    for name in ("train/loss", "val/psnr"):
        assert figures(tmp_path / "mixed", name) == pytest.approx(figures(tmp_path / "plain", name), rel=1e-4)
    assert len(figures(tmp_path / "mixed", "val/psnr")) == 2


@pytest.mark.slow
@needs_compiler
def test_one_compiled_block_serves_all_blocks_and_all_numbers_of_tokens(config, tmp_path):
    """One for training, one for validation, which keeps no graph; not one for each of four samples or three blocks."""
    said = train(config, tmp_path, compiled=True)
    assert said.count("TRACED GRAPH") <= 3


@pytest.mark.slow
@needs_compiler
def test_compiled_stages_of_lgm_train_as_the_plain_ones(config, tmp_path):
    content = yaml.safe_load(config.read_text(encoding="utf-8"))
    shape = {"down_channels": [32, 32], "down_attention": [False, True]}
    shape |= {"up_channels": [32, 32], "up_attention": [True, False]}
    content |= {"base": str(ROOT / "configs/mouse_lgm_tiny_cpu.yaml"), "validation": {"enabled": False}, "mouse": {}}
    content["model"] = {"image_tokenizer": {"image_size": 16}, "lgm": shape}
    content["training"]["dataset"] |= {"num_views": 6, "num_target_views": 1}
    path = tmp_path / "lgm.yaml"
    path.write_text(yaml.safe_dump(content), encoding="utf-8")
    train(path, tmp_path / "plain", compiled=False, stop=3)
    said = train(path, tmp_path / "compiled", compiled=True, stop=3)
    assert said.count("TRACED GRAPH") >= 5  # the stages
    losses = [figures(tmp_path / name, "train/loss") for name in ("plain", "compiled")]
    assert len(losses[0]) == 3
    assert losses[1] == pytest.approx(losses[0], rel=1e-4)
