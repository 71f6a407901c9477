"""The running average of the weights."""

import pytest
import torch

from gslrm.config.adapt import EmaConfig
from gslrm.training.ema import WeightAverage


def average_of(*, decay: float, warmup: int = 1) -> tuple[torch.nn.Parameter, WeightAverage]:
    weight = torch.nn.Parameter(torch.tensor([1.0, -2.0, 3.0]))
    return weight, WeightAverage({"w": weight}, EmaConfig(decay=decay, warmup=warmup))


def move(weight: torch.nn.Parameter, average: WeightAverage, *, seed: int, steps: int = 1) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    path = []
    for _ in range(steps):
        weight.data += torch.randn(3, generator=generator)
        average.update()
        path.append(weight.detach().clone())
    return path


def test_weights_that_do_not_move_are_their_own_average():
    weight, average = average_of(decay=0.99, warmup=10)
    for _ in range(20):
        average.update()
    assert torch.equal(average.averages["w"], weight)


def test_without_warm_up_the_average_is_the_geometric_sum():
    weight, average = average_of(decay=0.9)
    start = weight.detach().clone()
    path = move(weight, average, seed=0, steps=30)
    expected = 0.9**30 * start.double()
    for age, value in enumerate(reversed(path)):
        expected += 0.1 * 0.9**age * value.double()
    torch.testing.assert_close(average.averages["w"].double(), expected, rtol=1e-5, atol=1e-5)


def test_the_warm_up_starts_at_the_weights_grows_and_ends_at_the_decay():
    weight, average = average_of(decay=0.95, warmup=10)
    decays = []
    for step in range(400):
        decays.append(average.decay)
        move(weight, average, seed=step)
    assert decays[0] == 0.1
    assert decays == sorted(decays)
    assert decays[-1] == 0.95
    assert decays[100] == pytest.approx(101 / 110)


def test_with_warm_up_the_beginning_is_forgotten_sooner():
    left = []
    for warmup in (1, 10):
        weight, average = average_of(decay=0.999, warmup=warmup)
        weight.data.zero_()
        for _ in range(50):
            average.update()
        left.append(float(average.averages["w"].norm()))
    assert left[1] < 1e-6 * left[0]


def test_swapping_shows_the_average_and_gives_the_weights_back_bit_for_bit():
    weight, average = average_of(decay=0.9)
    move(weight, average, seed=1, steps=5)
    weights, averages = weight.detach().clone(), average.averages["w"].clone()
    with pytest.raises(RuntimeError, match="inside"), average.swapped():
        assert torch.equal(weight, averages)
        raise RuntimeError("inside")
    assert torch.equal(weight, weights)
    assert torch.equal(average.averages["w"], averages)


def test_a_restored_average_goes_on_bit_for_bit():
    weight, average = average_of(decay=0.99, warmup=10)
    move(weight, average, seed=2, steps=4)
    state = {"updates": average.updates, "weights": {"w": average.state()["weights"]["w"].clone()}}
    other = WeightAverage({"w": torch.nn.Parameter(weight.detach().clone())}, average.config)
    other.restore(state)
    move(weight, average, seed=3, steps=4)
    move(other.parameters["w"], other, seed=3, steps=4)
    assert other.updates == 8
    assert torch.equal(average.averages["w"], other.averages["w"])


def test_a_reset_average_begins_with_the_weights_as_they_are():
    weight, average = average_of(decay=0.99)
    move(weight, average, seed=4, steps=3)
    average.reset()
    assert average.updates == 0
    assert torch.equal(average.averages["w"], weight)
    assert average.averages["w"].data_ptr() != weight.data_ptr()
