"""What lives and what is computed while a pass runs."""

import torch
from model_helpers import random_views, small_model
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from gslrm.doctor.ledger import WEIGHT_COPIES, Ledger
from gslrm.doctor.stand_ins import AssumedData, GpuAutocast

KIB = 1024


def test_the_peak_is_the_most_that_lived_at_once():
    with Ledger() as ledger:
        first = torch.empty(KIB, dtype=torch.uint8)
        second = torch.cat([first, first])
        del first
        third = second[:KIB].clone()
        del second, third
    assert sum(ledger.peak.values()) == 3 * KIB
    assert sum(ledger.held.values()) == 0


def test_views_and_changes_in_place_take_nothing():
    with Ledger() as ledger:
        tensor = torch.zeros(KIB, dtype=torch.uint8)
        tensor[3:].add_(1)
        tensor.view(2, -1).mul_(2)
    assert sum(ledger.peak.values()) == KIB


def test_bytes_are_those_of_the_label_under_which_they_were_born():
    with Ledger() as ledger:
        ledger.hold("kept elsewhere", 5)
        with ledger.labelled("one"):
            one = torch.empty(3, dtype=torch.uint8)
        with ledger.labelled("two"):
            two = one + one
        ledger.note([two], "three")
    assert {name: size for name, size in ledger.held.items() if size} == {"kept elsewhere": 5, "one": 3, "three": 3}


def test_copies_that_autocast_makes_of_weights_are_told_from_activations():
    layer, x = torch.nn.Linear(8, 4, bias=False), torch.ones(2, 8)
    with Ledger() as ledger:
        ledger.note_weights([layer.weight], "weights")
        with torch.autocast("cpu", dtype=torch.bfloat16):
            result = layer(x)
            assert ledger.held[WEIGHT_COPIES] == 2 * layer.weight.numel()
    assert ledger.held[WEIGHT_COPIES] == 0 or result.requires_grad


def training_pass(model: torch.nn.Module) -> Ledger:
    views, ledger = random_views(2), Ledger()
    with ledger:
        model.train()(views).means.square().sum().backward()
    return ledger


def test_operations_are_those_that_torch_counts():
    """Torch counts attention where it is written out; there is no recomputing of scores in its backward pass."""
    ledger, counted = training_pass(small_model()), FlopCounterMode(display=False)
    with sdpa_kernel(SDPBackend.MATH), counted:
        small_model().train()(random_views(2)).means.square().sum().backward()
    tokens, width, layers = 2 + 2 * 4, 32, 2
    assert ledger.flops == counted.get_total_flops() + layers * 2 * tokens**2 * width


def test_operations_of_the_blocks_follow_the_textbook():
    from gslrm.config import TransformerConfig
    from gslrm.model.blocks import Transformer

    tokens, width, layers = 10, 32, 3
    blocks = Transformer(TransformerConfig(d=width, d_head=16, n_layer=layers)).train()
    linear, attention = 24 * tokens * width**2, 4 * tokens**2 * width
    last = 8 * tokens * width**2  # of a group: its result is not needed again
    for every, repeated in (
        (0, 0),
        (1, layers * (linear + attention - last)),
        (3, layers * (linear + attention) - last),
    ):
        blocks.checkpoint_every = every
        with Ledger() as ledger:
            blocks(torch.randn(1, tokens, width, requires_grad=True)).sum().backward()
        assert ledger.flops == layers * (3 * linear + 3.5 * attention) + repeated


def test_assumed_data_keeps_its_share_of_every_mask():
    with AssumedData(0.25, answer=False):
        values, mask = torch.arange(80).reshape(8, 10), torch.zeros(8, 10, dtype=torch.bool)
        assert len(values[mask]) == 20
        assert len(values[0, mask[0]]) == round(0.25 * 10)
        assert mask.nonzero().shape == (20, 2)
        assert not bool(mask.any())


def test_layer_norms_of_a_gpus_autocast_are_in_float32():
    norm, x = torch.nn.LayerNorm(8), torch.ones(2, 8, dtype=torch.bfloat16)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert norm(x).dtype is torch.bfloat16
        with GpuAutocast():
            assert norm(x).dtype is torch.float32
