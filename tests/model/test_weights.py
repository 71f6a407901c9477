"""Published checkpoints load whole or not at all."""

import json

import numpy as np
import pytest
import torch
from helpers import FIXTURES

from gslrm.config import ModelConfig
from gslrm.errors import UserError
from gslrm.model import build_model
from gslrm.model.weights import load_published


@pytest.fixture
def published():
    z = np.load(FIXTURES / "facelift/case_a.npz", allow_pickle=False)
    config = ModelConfig.model_validate(json.loads(str(z["config"]))["model"])
    return config, {key[2:]: torch.from_numpy(z[key]) for key in z.files if key.startswith("w/")}


def test_a_facelift_checkpoint_file_loads_and_its_vgg_is_reported(published, tmp_path):
    config, weights = published
    extra = {"loss_calculator.perceptual_loss_module.net.conv1.weight": torch.zeros(2)}
    file = tmp_path / "ckpt_0000000000021125.pt"
    torch.save({"model": weights | extra, "fwdbwd_pass_step": 21125, "param_update_step": 21125}, file)
    model = build_model(config)
    report = load_published(model, file)
    assert report.share == 1
    assert report.ignored == tuple(extra)
    assert not report.missing
    assert not report.unexpected
    for key, value in model.state_dict().items():
        torch.testing.assert_close(value, weights[key])


def test_less_than_the_whole_core_is_refused_unless_allowed(published):
    config, weights = published
    weights.pop("input_layer_norm.weight")
    model = build_model(config)
    before = {key: value.clone() for key, value in model.state_dict().items()}
    with pytest.raises(UserError, match="1 missing .first: input_layer_norm.weight"):
        load_published(model, weights)
    for key, value in model.state_dict().items():
        torch.testing.assert_close(value, before[key])  # a refusal changes nothing
    report = load_published(model, weights, allow_partial=True)
    assert report.missing == ("input_layer_norm.weight",)
    assert 0.9 < report.share < 1


def test_a_checkpoint_of_another_size_names_both_shapes(published):
    config, weights = published
    bigger = build_model(config.model_copy(update={"transformer": config.transformer.model_copy(update={"d": 128})}))
    with pytest.raises(UserError, match=r"\(2, 64\), the model wants \(2, 128\)"):
        load_published(bigger, weights)


def test_unknown_keys_and_nan_are_refused(published):
    config, weights = published
    with pytest.raises(UserError, match="1 unknown to the model .first: surprise"):
        load_published(build_model(config), weights | {"surprise": torch.zeros(1)})
    weights["input_layer_norm.weight"] = torch.full((64,), float("nan"))
    with pytest.raises(UserError, match="NaN"):
        load_published(build_model(config), weights)


@pytest.mark.parametrize(
    ("content", "message"),
    [(b"", "not a readable checkpoint"), (b"PK\x03\x04 broken", "not a readable checkpoint"), (None, "missing")],
)
def test_unreadable_files_are_named(published, tmp_path, content, message):
    file = tmp_path / "weights.pt"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(UserError, match=f"weights.pt: .*{message}"):
        load_published(build_model(published[0]), file)


def test_a_checkpoint_cannot_run_code(published, tmp_path):
    class Attack:
        def __reduce__(self):
            return (exec, ("raise SystemExit('code ran')",))

    torch.save({"model": Attack()}, tmp_path / "attack.pt")
    with pytest.raises(UserError, match="not a readable checkpoint"):
        load_published(build_model(published[0]), tmp_path / "attack.pt")
