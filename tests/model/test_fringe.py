"""The fringe term asks for pictures as decided as the mask, and for nothing else."""

import torch
from loss_helpers import changed, comparison

from gslrm.model.loss_pictures import fringe


def test_a_picture_as_decided_as_its_mask_costs_nothing_wherever_its_outline_runs():
    c = comparison()
    c = changed(c, mask=torch.rand_like(c.mask))
    assert fringe(changed(c, alpha=c.mask)) == 0
    assert fringe(changed(c, alpha=(torch.rand_like(c.mask) > 0.5).to(c.mask))) == 0


def test_haze_costs_most_where_it_is_half_transparent():
    c = comparison()  # with full masks
    costs = [float(fringe(changed(c, alpha=torch.full_like(c.mask, level)))) for level in (0.9, 0.7, 0.5, 0.2, 0.0)]
    assert costs[2] == 0.25 == max(costs)
    assert costs[0] < costs[1]
    assert costs[4] == 0


def test_its_derivative_pushes_alpha_to_the_nearer_end():
    c = comparison()
    alpha = torch.full_like(c.mask, 0.4).requires_grad_()
    fringe(changed(c, alpha=alpha)).backward()
    assert (alpha.grad > 0).all()  # less of it is less haze
