from dataclasses import replace

import numpy as np
import pytest

from gslrm.data.synthetic_raster import photograph
from gslrm.data.synthetic_scene import RIG_VIEWS, Views, scene_of
from gslrm.data.synthetic_sensor import MOST_CUT, Sensor, record

SEED = (5, 2)
COLOURS_ONLY = ("exposure", "noise", "blur", "compression")


@pytest.fixture(scope="module")
def pictures():
    mesh, cameras, _ = scene_of(np.random.default_rng(11), Views(128, extra=2, held_out=False, crop=1.2))
    return photograph(mesh, cameras)


def stored(pictures, **switches):
    return record(pictures, Sensor(**switches), seed=SEED, views=RIG_VIEWS)


def test_without_switches_files_hold_the_exact_pictures(pictures):
    exact = stored(pictures)
    np.testing.assert_array_equal(exact.masks, (255 * pictures.coverage + 0.5).astype(np.uint8))
    np.testing.assert_allclose(exact.depths / 100, pictures.depth, atol=0.0051)
    white = 255 * (pictures.colour + 1 - pictures.coverage[..., None])
    assert np.abs(exact.images - white).max() <= 0.51


@pytest.mark.parametrize("name", [*COLOURS_ONLY, "cut"])
def test_the_same_seed_gives_the_same_effect_and_another_seed_another(pictures, name):
    once, again = stored(pictures, **{name: True}), stored(pictures, **{name: True})
    other = record(pictures, Sensor(**{name: True}), seed=(6, 2), views=RIG_VIEWS)
    np.testing.assert_array_equal(once.images, again.images)
    assert (once.images != other.images).any()


@pytest.mark.parametrize("name", COLOURS_ONLY)
def test_effects_on_colours_change_the_rigs_colours_and_nothing_else(pictures, name):
    exact, changed = stored(pictures), stored(pictures, **{name: True})
    for view in range(RIG_VIEWS):
        assert (exact.images[view] != changed.images[view]).any()
    np.testing.assert_array_equal(exact.images[RIG_VIEWS:], changed.images[RIG_VIEWS:])
    np.testing.assert_array_equal(exact.masks, changed.masks)
    np.testing.assert_array_equal(exact.depths, changed.depths)
    difference = np.abs(exact.images.astype(float) - changed.images)[:RIG_VIEWS]
    assert difference[pictures.coverage[:RIG_VIEWS] > 0].mean() < 40


@pytest.mark.parametrize("name", ["exposure", "noise"])
def test_what_a_camera_does_to_the_animal_leaves_the_white_background_white(pictures, name):
    changed = stored(pictures, **{name: True})
    assert (changed.images[pictures.coverage == 0] == 255).all()


@pytest.mark.parametrize("kind", ["soft", "ragged"])
def test_drawn_masks_change_the_rigs_masks_a_little_and_nothing_else(pictures, kind):
    exact, changed = stored(pictures), stored(pictures, masks=kind)
    np.testing.assert_array_equal(exact.images, changed.images)
    np.testing.assert_array_equal(exact.depths, changed.depths)
    np.testing.assert_array_equal(exact.masks[RIG_VIEWS:], changed.masks[RIG_VIEWS:])
    for view in range(RIG_VIEWS):
        first, second = exact.masks[view] > 127, changed.masks[view] > 127
        overlap = (first & second).sum() / (first | second).sum()
        assert 0.75 < overlap < 1 or kind == "soft"
    levels = len(np.unique(changed.masks[:RIG_VIEWS]))
    assert levels == 2 if kind == "ragged" else levels > 30


def test_a_cut_takes_the_same_end_from_colours_masks_and_depth(pictures):
    exact, changed = stored(pictures), stored(pictures, cut=True)
    hit = 0
    for view in range(len(exact.images)):
        gone = (exact.masks[view] > 0) & (changed.masks[view] == 0)
        kept = changed.masks[view] > 0
        np.testing.assert_array_equal(changed.images[view][kept], exact.images[view][kept])
        np.testing.assert_array_equal(changed.depths[view][kept], exact.depths[view][kept])
        assert (changed.images[view][gone] == 255).all() and (changed.depths[view][gone] == 0).all()
        assert exact.masks[view][gone].sum() < (MOST_CUT + 0.05) * exact.masks[view].sum()
        if gone.any():
            hit += 1
            assert view < RIG_VIEWS
            rows, columns = (set(np.nonzero(m.any(axis=axis))[0]) for m in (gone,) for axis in (1, 0))
            others = [set(np.nonzero(kept.any(axis=axis))[0]) for axis in (1, 0)]
            assert not rows & others[0] or not columns & others[1]  # a straight line parallel to the border
    assert hit


def test_effects_do_not_disturb_each_other(pictures):
    """What is drawn for one switch does not depend on the others."""
    everything = Sensor(exposure=True, noise=True, blur=True, compression=True, cut=True, masks="ragged")
    cut = record(pictures, Sensor(cut=True), seed=SEED, views=RIG_VIEWS)
    both = record(pictures, replace(everything, masks="exact"), seed=SEED, views=RIG_VIEWS)
    np.testing.assert_array_equal(cut.masks, both.masks)
    np.testing.assert_array_equal(cut.depths, both.depths)
