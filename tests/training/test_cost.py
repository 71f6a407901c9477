"""The parts of a pass add up to the pass, and what lies between passes is nobody's cost."""

import time

import numpy as np
import pytest
import torch

from gslrm.training.cost import PassClock, peak_memory

CPU = torch.device("cpu")


def test_parts_are_timed_as_long_as_they_take_and_sum_to_the_pass():
    clock = PassClock(CPU)
    for _ in range(3):
        clock.start()
        time.sleep(0.02)
        clock.lap("data")
        time.sleep(0.04)
        clock.lap("forward")
        time.sleep(0.01)
        clock.lap("data")
        clock.stop()
        time.sleep(0.1)  # logging, validation
    means = clock.means()
    assert set(means) == {"step_time", "time_data", "time_forward"}
    assert means["time_forward"] == pytest.approx(0.04, abs=0.015) and means["time_data"] == pytest.approx(
        0.03, abs=0.015
    )
    assert means["time_data"] + means["time_forward"] == pytest.approx(means["step_time"], abs=1e-3)


def test_a_part_that_is_not_named_is_missing_from_the_sum():
    clock = PassClock(CPU)
    clock.start()
    clock.lap("data")
    time.sleep(0.03)
    clock.stop()
    means = clock.means()
    assert means["step_time"] - means["time_data"] > 0.025


def test_means_are_over_the_passes_since_they_were_last_asked_for():
    clock = PassClock(CPU)
    assert clock.means() == {}
    for seconds in (0.03, 0.0):
        clock.start()
        time.sleep(seconds)
        clock.lap("data")
        clock.stop()
        assert (clock.means()["time_data"] > 0.02) == (seconds > 0)
    assert clock.means() == {}


def test_peak_memory_counts_what_was_held_in_gib_even_after_it_is_freed():
    block = np.ones(2**28, np.uint8)  # a quarter of a GiB, touched
    peak = peak_memory(CPU)
    assert set(peak) == {"memory_host_gib"} and len(block) / 2**30 < peak["memory_host_gib"] < 200
    del block
    assert peak_memory(CPU)["memory_host_gib"] >= peak["memory_host_gib"]
