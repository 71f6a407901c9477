"""Weights tell their architecture by names and shapes."""

import json
from pathlib import Path

import pytest
import torch

from gslrm.config import ModelConfig
from gslrm.errors import UserError
from gslrm.model import build_model
from gslrm.model.family import recognise
from gslrm.model.weights import load_published

FIXTURES = Path(__file__).parents[3] / "shared" / "fixtures"
PUBLISHED = {"transformer": {"d": 64, "n_layer": 2}}
NETWORKS = {
    "as published": PUBLISHED,
    "deeper, wider": {"transformer": {"d": 128, "n_layer": 3}},
    "one token": PUBLISHED | {"gaussians": {"n_gaussians": 1}},
    "harmonics": PUBLISHED | {"gaussians": {"sh_degree": 3}},
    "large patches": PUBLISHED | {"image_tokenizer": {"patch_size": 16}},
    "reference view": PUBLISHED | {"add_refsrc_marker": True},
    "moments": PUBLISHED
    | {"use_custom_plucker": False, "use_aug_plucker": True, "image_tokenizer": {"in_channels": 12}},
    "LGM big": {"family": "lgm"},
    "LGM tiny": {"family": "lgm", "lgm": {"preset": "tiny"}},
    "LGM small": {"family": "lgm", "lgm": {"preset": "small"}},
    "LGM of own widths": {
        "family": "lgm",
        "lgm": {
            **{"down_channels": [32, 64, 96], "down_attention": [False, False, True]},
            **{"up_channels": [96, 64], "up_attention": [True, False]},
        },
    },
}


def weights_of(settings: dict) -> dict[str, torch.Tensor]:
    """Names and shapes; no memory."""
    with torch.device("meta"):
        return build_model(ModelConfig.model_validate(settings)).state_dict()


@pytest.mark.parametrize("name", NETWORKS)
def test_the_network_of_recognised_weights_has_exactly_their_tensors(name):
    weights = weights_of(NETWORKS[name])
    found = recognise(weights, name="weights")
    again = weights_of(dict(found.model))
    assert {key: value.shape for key, value in again.items()} == {key: value.shape for key, value in weights.items()}
    assert found.family == NETWORKS[name].get("family", "gslrm")


@pytest.mark.parametrize("preset", ["big", "tiny", "small"])
def test_presets_of_lgm_are_called_by_their_names(preset):
    weights = weights_of({"family": "lgm", "lgm": {"preset": preset}})
    assert len(weights) == {"big": 376, "small": 344, "tiny": 244}[preset]
    assert recognise(weights, name="weights").model == {"family": "lgm", "lgm": {"preset": preset}}


def test_the_losses_own_networks_are_passed_over():
    weights = weights_of(PUBLISHED)
    extra = {"loss_calculator.perceptual_loss_module.net.conv1.weight": torch.empty(64, 3, 3, 3, device="meta")}
    assert recognise(weights | extra, name="weights") == recognise(weights, name="weights")


def test_recognised_weights_load_without_a_configuration():
    torch.manual_seed(0)
    weights = build_model(ModelConfig.model_validate(PUBLISHED)).state_dict()
    found = recognise(weights, name="weights")
    model = build_model(ModelConfig.model_validate(dict(found.model)))
    assert load_published(model, weights).share == 1.0


def without(key: str):
    return lambda weights: {name: value for name, value in weights.items() if name != key}


def reshaped(key: str, *shape: int):
    return lambda weights: weights | {key: torch.empty(shape, device="meta")}


WRONG = {
    "a tensor is missing": (without("gaussian_upsampler.linear.weight"), "gaussian_upsampler.linear.weight is missing"),
    "no such degree": (reshaped("gaussian_upsampler.linear.weight", 15, 64), "15 channels per Gaussian"),
    "no square patch": (reshaped("pixel_gaussian_decoder.1.weight", 14 * 60, 64), "no square patch"),
    "hints of the hull": (reshaped("patch_embedder.1.weight", 64, 14 * 64), "14 channels, the published networks"),
    "other heads": (reshaped("patch_embedder.1.weight", 96, 576), "width 96 is not that of whole attention heads"),
}


@pytest.mark.parametrize("name", WRONG)
def test_weights_that_are_nearly_right_say_what_is_wrong_and_how_to_go_on(name):
    spoil, reason = WRONG[name]
    with pytest.raises(UserError, match=f"weights.pt: carries no configuration.*{reason}.*--config"):
        recognise(spoil(weights_of(PUBLISHED)), name="weights.pt")


def test_an_lgm_of_other_input_is_refused():
    weights = reshaped("unet.conv_in.weight", 64, 14, 3, 3)(weights_of({"family": "lgm"}))
    with pytest.raises(UserError, match="14 channels, the published networks have 9"):
        recognise(weights, name="weights.pt")


@pytest.mark.parametrize("weights", [{}, {"encoder.layer.0.weight": torch.zeros(2)}])
def test_weights_of_another_family_are_told_what_was_expected(weights):
    with pytest.raises(UserError) as error:
        recognise(weights, name="vit.safetensors")
    message = str(error.value)
    assert message.startswith("vit.safetensors: carries no configuration and holds weights of no known family")
    assert "gslrm (patch_embedder.1.weight)" in message and "lgm (unet.conv_in.weight)" in message


@pytest.mark.skipif(not FIXTURES.is_dir(), reason="the prepared material is not on this machine")
@pytest.mark.parametrize(
    ("file", "model"),
    [
        ("lgm/key_shapes_big.json", {"family": "lgm", "lgm": {"preset": "big"}}),
        ("lgm/key_shapes_tiny.json", {"family": "lgm", "lgm": {"preset": "tiny"}}),
        ("facelift/key_shapes_released.json", None),
    ],
)
def test_the_published_files_are_recognised(file, model):
    content = json.loads((FIXTURES / file).read_text())
    shapes = content.get("state_dict", content)
    weights = {name: torch.empty(shape, device="meta") for name, shape in shapes.items()}
    found = recognise(weights, name=file).model
    if model is not None:
        assert found == model
        return
    assert found["transformer"] == {"d": 1024, "d_head": 64, "n_layer": 24}
    assert found["gaussians"] == {"n_gaussians": 2, "sh_degree": 0}
    assert found["image_tokenizer"] == {"patch_size": 8, "in_channels": 9}
