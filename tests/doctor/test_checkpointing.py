"""Recomputing blocks in the backward pass: the same gradients, in less memory."""

import pytest
import torch

from gslrm.config import TransformerConfig
from gslrm.doctor.ledger import Ledger
from gslrm.model.blocks import Transformer

TOKENS, WIDTH, LAYERS = 512, 32, 6
ONE = 4 * TOKENS * WIDTH  # bytes of the input of a block
GROUPS = (1, 2, 3, 4, 6)


def blocks(every: int) -> Transformer:
    torch.manual_seed(0)
    transformer = Transformer(TransformerConfig(d=WIDTH, d_head=16, n_layer=LAYERS)).train()
    transformer.checkpoint_every = every
    return transformer


def tokens() -> torch.Tensor:
    return torch.randn(1, TOKENS, WIDTH, generator=torch.Generator().manual_seed(1)).requires_grad_()


def noted(transformer: Transformer, ledger: Ledger) -> Ledger:
    ledger.note(list(transformer.parameters()), "weights")
    return ledger


def activations(sizes: dict[str, int]) -> int:
    return sum(size for label, size in sizes.items() if label != "weights")


def peak(every: int) -> int:
    transformer, x = blocks(every), tokens()
    with noted(transformer, Ledger()) as ledger:
        transformer(x).square().sum().backward()
    return activations(ledger.peak)


@pytest.mark.parametrize("every", GROUPS)
def test_recomputing_changes_no_bit_of_a_gradient(every):
    plain, recomputing, given, same = blocks(0), blocks(every), tokens(), tokens()
    plain(given).square().sum().backward()
    recomputing(same).square().sum().backward()
    assert torch.equal(given.grad, same.grad)
    for one, other in zip(plain.parameters(), recomputing.parameters(), strict=True):
        assert torch.equal(one.grad, other.grad)


@pytest.mark.parametrize("every", GROUPS)
def test_recomputing_keeps_one_tensor_for_each_group_of_blocks(every):
    transformer, x = blocks(every), tokens()
    with noted(transformer, Ledger()) as ledger:
        result = transformer(x)
    assert activations(ledger.held) == -(-LAYERS // every) * ONE  # inputs but the first, and the result
    assert result.requires_grad


@pytest.mark.parametrize(("every", "share"), [(1, 0.5), (2, 0.7), (3, 0.85)])
def test_the_peak_falls_with_smaller_groups(every, share):
    assert peak(every) < share * peak(0)


def test_nothing_is_recomputed_outside_training():
    transformer, x = blocks(1), tokens()
    with noted(transformer, Ledger()) as training:
        transformer(x).sum().backward()
    with noted(transformer, Ledger()) as evaluating:
        transformer.eval()(x).sum().backward()
    assert evaluating.flops < 0.9 * training.flops
