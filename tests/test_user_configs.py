"""The configurations that users asked for: their values, what each changes, the commands on top of them."""

import argparse
import json
import re
import runpy
import shlex
import sys
from pathlib import Path

import pytest
import torch
import yaml
from helpers import ring, write_ball_sample

from gslrm.config import Config
from gslrm.config_io import load_config
from gslrm.model import build_model
from gslrm.model.adapt import choose_trainable

ROOT = Path(__file__).parents[1]
CONFIGS = sorted((ROOT / "configs").glob("*.yaml"))
LOCAL = "mouse_gslrm_local_rtx3060"
PUBLISHED_PARAMETERS = 303_565_824
LONGEST = 60  # lines of a configuration with its opening

# What the users' notes ask of this file, key by key.
NOTED = {
    "training.dataloader.batch_size_per_gpu": 1,
    "training.runtime.grad_accum_steps": 4,
    "training.runtime.amp_dtype": "fp16",
    "training.runtime.use_amp": True,
    "training.runtime.use_tf32": False,
    "training.runtime.grad_checkpoint_every": 1,
    "training.losses.lpips_loss_weight": 0.0,
    "training.losses.perceptual_loss_weight": 0.0,
    "training.losses.ssim_loss_weight": 0.5,
    "training.losses.l2_loss_weight": 1.0,
    "training.losses.masked_l2_loss": True,
    "training.losses.masked_ssim_loss": True,
    "training.losses.ssim_mask": "neutral",
    "training.losses.background_loss_weight": 0.1,
    "training.dataset.remove_alpha": False,
    "training.dataset.dataset_path": "data_mouse_local/data_mouse_train.txt",
    "training.checkpointing.resume_ckpt": "checkpoints/gslrm/ckpt_0000000000021125.pt",
    "training.schedule.max_fwdbwd_passes": 20000,
    "mouse.use_mouse_dataset": True,
    "mouse.normalize_cameras": True,
    "mouse.target_camera_distance": 2.7,
    "mouse.normalize_to_z_up": True,
    "mouse.auto_generate_mask": True,
    "mouse.mask_threshold": 250,
}
# Of these, what measurements or later reports speak against: the line says so.
DOUBTED = ("amp_dtype", "use_tf32", "ssim_loss_weight", "perceptual_loss_weight")
ADVISED = {
    "training.runtime.amp_dtype": "bf16",
    "training.runtime.use_tf32": True,
    "training.losses.ssim_loss_weight": 0.2,
}
# What each configuration changes of its base, and nothing else.
RATE, PRESET, LIST = "training.optimizer.lr", "training.adapt.preset", "training.dataset.dataset_path"
CHANGES: dict[str, dict[str, object]] = {
    "mouse_gslrm_lowmem": {"training.dataset.num_target_views": 3, "training.optimizer.offload": True},
    "mouse_gslrm_real_camera": {RATE: 1e-6, "mouse.crop": "footprint"},
    "mouse_gslrm_freeze_all": {RATE: 1e-4, PRESET: "freeze_all"},
    "mouse_gslrm_conservative": {PRESET: "conservative"},
    "mouse_gslrm_decoder_only": {PRESET: "decoder_only"},
    "mouse_gslrm_last_layer": {RATE: 1e-6, PRESET: "last_layer"},
    "mouse_gslrm_lora": {RATE: 1e-4, "training.adapt.lora.rank": 8, "training.optimizer.weight_decay": 0.0},
    "mouse_gslrm_normalized_synthetic": {
        LIST: "data_mouse_synthetic/data_mouse_train.txt",
        "training.dataset.num_views": 12,
        "training.dataset.num_input_views": 6,
        "training.dataset.num_target_views": 6,
        "validation.dataset_path": "data_mouse_synthetic/data_mouse_val.txt",
        "validation.heldout_views": "6-11",
        "mouse.auto_generate_mask": False,
    },
    "mouse_gslrm_zero_shot": {
        "model.image_tokenizer.image_size": 512,
        "training.runtime.amp_dtype": "auto",
        "training.dataset.num_input_views": 6,
        "validation.enabled": False,
    },
}
# FaceLift's first stage, as the specification records it.
FROM_SCRATCH = {
    "model.image_tokenizer.image_size": 256,
    "training.dataset.num_views": 8,
    "training.dataset.num_input_views": 4,
    "training.dataset.maximize_view_overlap": True,
    "training.dataloader.batch_size_per_gpu": 8,
    "training.losses.perceptual_loss_weight": 0.5,
    "training.losses.warmup_pointsdist": True,
    "training.optimizer.lr": 4e-4,
    "training.optimizer.beta2": 0.95,
    "training.optimizer.weight_decay": 0.05,
    "training.schedule.max_fwdbwd_passes": 80000,
    "training.schedule.warmup": 2000,
    "training.schedule.l2_warmup_steps": 5000,
    "training.checkpointing.resume_ckpt": None,
}


class Parsed(BaseException):
    """Leaves a command as soon as its arguments are understood."""

    def __init__(self, arguments: argparse.Namespace) -> None:
        self.arguments = arguments


def flat(content: dict, prefix: str = "") -> dict[str, object]:
    leaves: dict[str, object] = {}
    for name, value in content.items():
        key = f"{prefix}{name}"
        leaves |= flat(value, f"{key}.") if isinstance(value, dict) and value else {key: value}
    return leaves


def keys(config: Config) -> dict[str, object]:
    return flat(config.model_dump(mode="json"))


def load(name: str) -> dict[str, object]:
    return keys(load_config(ROOT / f"configs/{name}.yaml"))


def opening(path: Path) -> str:
    lines = path.read_text(encoding="utf-8").splitlines()
    return "\n".join(lines[: next(i for i, line in enumerate(lines) if not line.startswith("#"))])


def commands(path: Path) -> list[list[str]]:
    """The commands on top of a configuration, without what starts Python."""
    text = re.sub(r" \\\n# *", " ", opening(path))
    lines = re.findall(r"^# (?:python|torchrun --nproc-per-node \d+) (.*)$", text, re.MULTILINE)
    return [shlex.split(line) for line in lines]


EVERY_COMMAND = [(path, words) for path in CONFIGS for words in commands(path)]


def call(script: str, *arguments: object) -> int | None:
    """Run a script in this process; returns its exit status."""
    argv, sys.argv = sys.argv, [script, *map(str, arguments)]
    try:
        runpy.run_path(str(ROOT / script), run_name="__main__")
    except SystemExit as error:
        return error.code
    finally:
        sys.argv = argv
    return 0


@pytest.mark.parametrize("key", NOTED)
def test_the_local_configuration_keeps_the_noted_value(key):
    assert load(LOCAL)[key] == NOTED[key]


@pytest.mark.parametrize("name", DOUBTED)
def test_a_noted_value_that_is_doubted_says_so_in_its_line(name):
    text = (ROOT / f"configs/{LOCAL}.yaml").read_text(encoding="utf-8")
    (line,) = re.findall(rf"^    {name}: .*$", text, re.MULTILINE)
    assert re.search(r"  # \(but\) \w", line)


def test_the_advised_command_switches_what_is_doubted_and_nothing_else():
    (words,) = [words for words in commands(ROOT / f"configs/{LOCAL}.yaml") if "--set" in words]
    overrides = words[words.index("--set") + 1 :]
    noted, advised = load(LOCAL), keys(load_config(ROOT / f"configs/{LOCAL}.yaml", overrides))
    assert {key: advised[key] for key in noted if advised[key] != noted[key]} == ADVISED


@pytest.mark.parametrize("name", CHANGES)
def test_a_configuration_changes_this_of_the_local_one_and_nothing_else(name):
    local, own = load(LOCAL), load(name)
    assert {key: own[key] for key in local if own[key] != local[key]} == CHANGES[name]


def test_every_fine_tuning_of_mice_is_in_the_table():
    names = {path.stem for path in CONFIGS if "base: mouse_gslrm_local_rtx3060.yaml" in path.read_text("utf-8")}
    assert names == CHANGES.keys()


@pytest.mark.parametrize("key", FROM_SCRATCH)
def test_training_from_scratch_follows_the_recipe(key):
    assert load("gslrm")[key] == FROM_SCRATCH[key]


def test_the_second_stage_of_training_from_scratch_follows_the_recipe():
    (words,) = [words for words in commands(ROOT / "configs/gslrm.yaml") if "--load" in words]
    config = keys(load_config(ROOT / "configs/gslrm.yaml", words[words.index("--set") + 1 :]))
    second = {"schedule.max_fwdbwd_passes": 20000, "schedule.warmup": 500, "schedule.l2_warmup_steps": 500}
    second |= {"optimizer.lr": 1e-4, "dataloader.batch_size_per_gpu": 2, "losses.warmup_pointsdist": False}
    assert {key: config[f"training.{key}"] for key in second} == second
    assert config["model.image_tokenizer.image_size"] == 512


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_a_configuration_is_a_short_delta_with_its_purpose_expectation_and_cost(path):
    assert len(path.read_text(encoding="utf-8").splitlines()) <= LONGEST
    if "mouse_gslrm" in path.stem or path.stem in ("gslrm", "facelift_gslrm"):
        assert re.findall(r"^# (Purpose|Expected|Cost): ", opening(path), re.MULTILINE) == [
            "Purpose", "Expected", "Cost",
        ]  # fmt: skip
        assert commands(path)


@pytest.mark.parametrize(("path", "words"), EVERY_COMMAND, ids=[f"{p.stem}-{w[0]}" for p, w in EVERY_COMMAND])
def test_the_commands_on_top_of_a_configuration_are_understood(path, words, monkeypatch):
    parse = argparse.ArgumentParser.parse_args

    def stop(parser: argparse.ArgumentParser) -> argparse.Namespace:
        raise Parsed(parse(parser))

    monkeypatch.setattr(argparse.ArgumentParser, "parse_args", stop)
    with pytest.raises(Parsed) as caught:
        call(*words)
    arguments = vars(caught.value.arguments)
    if arguments.get("config"):
        load_config(ROOT / arguments["config"], arguments.get("overrides", ()))


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_a_configuration_builds_its_network(path):
    config = load_config(path)
    with torch.device("meta"):
        model = build_model(config.model)
        count = sum(value.numel() for value in model.parameters())
        if config.training.adapt.lora.rank:
            pytest.importorskip("peft")
        choose_trainable(model, config.training.adapt)
    assert any(value.requires_grad for value in model.parameters())
    if "gslrm" in path.stem:
        assert count == PUBLISHED_PARAMETERS


def test_float16_without_a_card_is_told_the_switch_before_anything_is_built(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr("gslrm.training.trainer.build_dataset", lambda *_: pytest.fail("data was read"))
    monkeypatch.chdir(tmp_path)
    assert call("train_gslrm.py", "--config", ROOT / f"configs/{LOCAL}.yaml", "--run-dir", tmp_path / "run") == 2
    assert "add --set training.runtime.amp_dtype=auto" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


@pytest.fixture
def small_zero_shot(tmp_path) -> tuple[Path, Path, Path]:
    """The zero-shot configuration with a small network, random weights in the published layout, and a sample."""
    network = {"image_tokenizer": {"image_size": 16}, "transformer": {"d": 32, "d_head": 16, "n_layer": 1}}
    base = str(ROOT / "configs/mouse_gslrm_zero_shot.yaml")
    path = tmp_path / "config.yaml"
    path.write_text(yaml.safe_dump({"base": base, "model": network}), encoding="utf-8")
    model = build_model(load_config(path).model)
    vgg = {"loss_calculator.perceptual_loss_module.net.conv1.weight": torch.zeros(64, 3, 3, 3)}
    state = {"model": model.state_dict() | vgg, "optimizer": {}, "lr_scheduler": {}, "fwdbwd_pass_step": 21125}
    torch.save(state, tmp_path / "ckpt_0000000000021125.pt")
    return path, tmp_path / "ckpt_0000000000021125.pt", write_ball_sample(tmp_path / "ball", ring(6, size=48))


def test_published_weights_are_scored_and_used_with_a_configuration_beside_them(small_zero_shot, tmp_path):
    config, weights, sample = small_zero_shot
    common = ["--config", config, "--checkpoint", weights, "--set", "inference.turntable_size=32"]
    assert call("scripts/evaluate.py", *common, "--data", sample, "--json", tmp_path / "scores.json", "--no-hull") == 0
    assert json.loads((tmp_path / "scores.json").read_text())["samples"]
    assert call("inference.py", *common, "--input", sample, "--output", tmp_path / "out", "--no-video") == 0
    assert (tmp_path / "out/ball/gaussians.ply").exists()


def test_a_configuration_beside_a_checkpoint_that_carries_one_is_refused(small_zero_shot, tmp_path, capsys):
    config, weights, sample = small_zero_shot
    content = torch.load(weights, weights_only=True) | {"config": load_config(config).model_dump(mode="json")}
    torch.save(content, weights)
    options = ["--config", config, "--checkpoint", weights, "--input", sample, "--output", tmp_path / "out"]
    assert call("inference.py", *options) == 2
    assert "carries its own configuration; leave --config" in capsys.readouterr().err
