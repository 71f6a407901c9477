"""Backgrounds from a recording's own frames."""

import numpy as np
import pytest
from mask_helpers import animal, iou, photograph, plate

from gslrm.data.mask_background import BackgroundModel
from gslrm.data.mask_temporal import MOST_FRAMES, _spread, steady_background

SCENE = plate()


def recording(places: list[tuple[float, float]]) -> list[np.ndarray]:
    return [photograph(animal(*place).over(SCENE), seed=number) for number, place in enumerate(places)]


class TestBackground:
    def test_the_scene_behind_a_walking_animal_is_recovered(self):
        found, share = steady_background(recording([(60 + 14 * step, 200) for step in range(16)]))
        error = np.abs(found.astype(np.float32) - SCENE).mean(axis=2)
        assert np.percentile(error, 99.5) < 8
        assert (share > 128).mean() > 0.9

    def test_an_animal_may_rest_on_the_floor_for_most_of_the_time(self):
        places = [(110, 200)] * 9 + [(60 + 12 * step, 205) for step in range(18)]
        found, share = steady_background(recording(places))
        resting = animal(110, 200).coverage > 0.5
        assert np.median(np.abs(found.astype(np.float32) - SCENE).mean(axis=2)[resting]) < 8
        assert share[resting].mean() < 160  # and it is said that this is uncertain

    def test_masks_from_it_are_as_good_as_from_a_plate(self):
        model = BackgroundModel.from_frames(recording([(60 + 14 * step, 200) for step in range(16)]))
        drawing = animal(150, 190)
        assert iou(model.segment(photograph(drawing.over(SCENE), seed=99)).coverage, drawing.coverage) > 0.97

    def test_a_still_scene_is_itself(self):
        frame = photograph(SCENE, noise=0.0)
        found, share = steady_background([frame] * 5)
        np.testing.assert_array_equal(found, frame)
        assert (share == 255).all()


class TestStream:
    @pytest.mark.parametrize("count", [1, 5, MOST_FRAMES, MOST_FRAMES + 1, 5 * MOST_FRAMES + 3])
    def test_a_bounded_number_of_frames_is_kept_evenly_spread(self, count):
        kept = [int(frame[0, 0, 0]) for frame in _spread(np.full((1, 1, 3), k, np.uint16) for k in range(count))]
        steps = set(np.diff(kept).tolist())
        assert len(kept) <= MOST_FRAMES
        assert len(steps) <= 1
        assert kept[0] == 0
        assert kept[-1] > count - 1 - max(steps, default=1)

    def test_no_frames_and_frames_of_two_sizes_are_refused(self):
        with pytest.raises(ValueError, match="no frames"):
            steady_background([])
        with pytest.raises(ValueError, match="frame 1"):
            steady_background([np.zeros((4, 4, 3), np.uint8), np.zeros((4, 5, 3), np.uint8)])
