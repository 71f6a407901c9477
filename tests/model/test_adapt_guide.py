"""The figures of docs/finetuning.md are those of the code."""

from pathlib import Path

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from gslrm.config import Config
from gslrm.config_io import load_config
from gslrm.model import build_model
from gslrm.model.adapt import choose_trainable
from gslrm.model.adapter import trainable

ROOT = Path(__file__).parents[2]
GUIDE = (ROOT / "docs/finetuning.md").read_text(encoding="utf-8")
ROWS = [
    [cell.strip() for cell in line.split("|")[1:-1]] for line in GUIDE.splitlines() if line.startswith("| `configs/")
]
NUMBER_BYTES = 4


def arithmetic(model: torch.nn.Module, config: Config) -> int:
    """Multiplications and additions of a forward and backward pass over five views, with blocks recomputed."""
    patch, views = config.model.image_tokenizer.patch_size, config.training.dataset.num_input_views
    count = views * (config.model.image_tokenizer.image_size // patch) ** 2
    model.train()
    model.recompute_every(config.training.runtime.grad_checkpoint_every)
    with torch.device("meta"), FlopCounterMode(display=False) as counter:
        images = model.patch_embedder(torch.empty(1, count, config.model.image_tokenizer.in_channels * patch**2))
        tokens = model.input_layer_norm(torch.cat([model.gaussian_position_embeddings[None], images], dim=1))
        tokens = model.transformer_layers(tokens)
        raw = model.pixel_gaussian_decoder(tokens[:, 2:]).sum() + model.gaussian_upsampler(tokens[:, :2]).sum()
        raw.backward()
    return counter.get_total_flops()


def adapted(path: str) -> tuple[torch.nn.Module, Config]:
    config = load_config(ROOT / path)
    if config.training.adapt.lora.rank:
        pytest.importorskip("peft")
    with torch.device("meta"):
        model = build_model(config.model)
        choose_trainable(model, config.training.adapt)
    return model, config


def test_the_guide_has_a_row_for_every_way_of_adapting():
    paths = {path for path in (ROOT / "configs").glob("mouse_gslrm_*.yaml") if "adapt:" in path.read_text()}
    assert paths <= {ROOT / row[0].strip("`") for row in ROWS}
    assert len(ROWS) == 6


@pytest.mark.parametrize("row", ROWS, ids=lambda row: Path(row[0].strip("`")).stem)
def test_a_row_of_the_guide_says_what_the_code_counts(row):
    model, config = adapted(row[0].strip("`"))
    trained = sum(value.numel() for value in trainable(model).values())
    weights = 303_565_824 if not config.training.adapt.lora.rank else trained  # what a checkpoint holds
    optimiser = 2 * NUMBER_BYTES * trained
    whole, whole_config = adapted(ROWS[0][0].strip("`"))
    share = arithmetic(model, config) / arithmetic(whole, whole_config)
    assert row[2:] == [
        f"{trained / 1e6:.2f} M",
        f"{optimiser / 1e6:.0f} MB",
        f"{(NUMBER_BYTES * weights + optimiser) / 1e6:.0f} MB",
        f"{share:.0%}".replace("%", " %"),
    ]


def test_the_sizes_in_the_text_are_those_of_the_code():
    model, config = adapted("configs/mouse_gslrm_lora.yaml")
    size = NUMBER_BYTES * sum(value.numel() for value in trainable(model).values())
    rank = config.training.adapt.lora.rank
    assert (
        f"Rank {rank} on all targets is {size / 1e6:.1f} MB alone; every further rank adds {size / rank / 1e6:.1f}"
        in GUIDE
    )
    assert f"weights {NUMBER_BYTES * 303_565_824 / 1e6:.0f} MB in every row" in GUIDE
    assert f"{0.8**24:.1%} of it".replace("%", " %") in GUIDE
