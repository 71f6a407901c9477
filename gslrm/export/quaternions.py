"""Unit quaternions without their largest component, which the other three give back."""

import numpy as np
from jaxtyping import Float, Int

LIMIT = 0.5**0.5  # no component but the largest can be larger


def smallest_three(
    quaternions: Float[np.ndarray, "n 4"],
) -> tuple[Int[np.ndarray, " n"], Float[np.ndarray, "n 3"]]:
    """Index of the largest component, and the others in their order over sqrt(1/2): numbers in [-1, 1].

    The sign is chosen so that the largest is positive.
    """
    largest = np.abs(quaternions).argmax(axis=1)
    picked = np.take_along_axis(quaternions, largest[:, None], axis=1)
    positive = quaternions * np.where(picked < 0, -1.0, 1.0)
    return largest, np.take_along_axis(positive, _others(largest), axis=1) / LIMIT


def from_smallest_three(largest: Int[np.ndarray, " n"], others: Float[np.ndarray, "n 3"]) -> Float[np.ndarray, "n 4"]:
    """The quaternions of `smallest_three`."""
    others = others * LIMIT
    quaternions = np.zeros((len(largest), 4))
    np.put_along_axis(quaternions, _others(largest), others, axis=1)
    rest = np.sqrt(np.clip(1 - np.square(others).sum(axis=1), 0, None))
    np.put_along_axis(quaternions, largest[:, None], rest[:, None], axis=1)
    return quaternions


def _others(largest: Int[np.ndarray, " n"]) -> Int[np.ndarray, "n 3"]:
    table = np.array([[1, 2, 3], [0, 2, 3], [0, 1, 3], [0, 1, 2]])
    return table[largest]
