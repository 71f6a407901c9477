import numpy as np
import pytest

from gslrm.errors import UserError
from gslrm.prepare.timeline import segments, split_by_blocks


def walk(count: int, step: float = 0.8) -> np.ndarray:
    return np.stack([step * np.arange(count), np.zeros(count), np.zeros(count)], axis=1)


def test_a_steady_walk_is_one_segment():
    assert segments(np.arange(30), walk(30), diameter=100.0) == [(0, 29)]


def test_a_jump_of_the_animal_ends_a_segment():
    centres = walk(30)
    centres[12:] += [110.0, 0, 0]
    assert segments(np.arange(30), centres, diameter=100.0) == [(0, 11), (12, 29)]


def test_missing_frames_end_a_segment():
    frames = np.concatenate([np.arange(0, 50, 5), np.arange(100, 150, 5)])
    assert segments(frames, walk(20), diameter=100.0) == [(0, 9), (10, 19)]


def test_a_mouse_that_runs_does_not_jump():
    centres = walk(30)
    centres[15:] += [12.0, 0, 0]
    assert segments(np.arange(30), centres, diameter=100.0) == [(0, 29)]


@pytest.mark.parametrize(("blocks", "gap"), [(1, 0), (1, 5), (3, 4)])
def test_no_training_frame_is_within_the_gap_of_a_validation_frame(blocks, gap):
    frames = 3 * np.arange(200)
    split = split_by_blocks(frames, share=0.15, blocks=blocks, gap=gap)
    distance = np.abs(frames[list(split.train)][:, None] - frames[list(split.validation)][None]).min()
    assert distance > gap
    assert len(split.validation) == pytest.approx(30, abs=blocks)
    assert np.count_nonzero(np.diff(split.validation) > 1) == blocks - 1
    assert not set(split.train) & set(split.validation)


def test_without_a_share_all_frames_train():
    assert split_by_blocks(np.arange(7), share=0.0, blocks=1, gap=10).train == tuple(range(7))


def test_a_gap_that_leaves_nothing_is_refused():
    with pytest.raises(UserError, match="make the share, the blocks or the gap smaller"):
        split_by_blocks(np.arange(10), share=0.1, blocks=1, gap=50)
