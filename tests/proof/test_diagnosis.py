"""Every known fault, fed to the checker as data, is detected and named; right data pass."""

import re

import numpy as np
import pytest
from proof_helpers import FORK_FAULTS, MOUSE_EVAL, OTHER_FAULTS, bump, mouse, ragged, real_rig_mouse, shift_center

from gslrm.proof.sentences import CAUSES, SENTENCES, sentence

needs_mouse_eval = pytest.mark.skipif(not MOUSE_EVAL.is_dir(), reason="evaluation set is not here")
ALL_FAULTS = FORK_FAULTS | OTHER_FAULTS


@pytest.mark.parametrize("seed", range(4))
def test_right_data_pass_without_a_word(seed):
    proof = mouse(seed).prove()
    assert proof.passed and not proof.verdict.warnings and proof.diagnosis is None
    assert proof.severity < 0.7


@pytest.mark.parametrize("seed", range(4))
def test_right_data_with_ragged_masks_pass(seed):
    proof = ragged(mouse(seed), seed).prove()
    assert proof.passed, proof.reasons


@pytest.mark.parametrize("fault", ALL_FAULTS)
@pytest.mark.parametrize("seed", [0, *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(1, 6))])
def test_each_fault_is_detected_and_named(seed, fault):
    proof = ALL_FAULTS[fault](mouse(seed)).prove()
    assert not proof.passed
    assert proof.diagnosis is not None and proof.diagnosis.cause == fault
    assert proof.diagnosis.after < 0.3 * proof.diagnosis.before


@pytest.mark.parametrize("fault", FORK_FAULTS)
def test_each_fault_of_the_fork_is_named_with_ragged_masks(fault):
    proof = FORK_FAULTS[fault](ragged(mouse(1), 5)).prove()
    assert not proof.passed and proof.diagnosis is not None and proof.diagnosis.cause == fault


@needs_mouse_eval
@pytest.mark.parametrize("samples", [1, pytest.param(24, marks=pytest.mark.slow)])
@pytest.mark.parametrize("fault", FORK_FAULTS)
def test_each_fault_of_the_fork_is_detected_and_named_on_the_real_rig(fault, samples):
    proofs = [FORK_FAULTS[fault](real_rig_mouse(index)).prove() for index in range(samples)]
    assert not any(proof.passed for proof in proofs)
    assert sum(proof.diagnosis is not None and proof.diagnosis.cause == fault for proof in proofs) > 0.95 * samples


@needs_mouse_eval
@pytest.mark.slow
def test_no_right_sample_of_the_real_rig_fails():
    assert all(real_rig_mouse(index).prove().passed for index in range(24))
    assert all(real_rig_mouse(index, 12).prove().passed for index in range(0, 24, 4))


@pytest.mark.parametrize(
    ("view", "axis"), [(0, (1.0, 0.0, 0.0)), (2, (0.0, 1.0, 0.0)), (5, (1.0, 1.0, 0.0)), (3, (0.0, 1.0, 0.0))]
)
def test_a_camera_turned_by_a_third_of_a_degree_is_named_and_measured(view, axis):
    proof = bump(mouse(0), view, 0.3, axis).prove()
    assert proof.verdict.suspects == (view,)
    assert proof.diagnosis is not None and proof.diagnosis.cause == "turned"
    degrees = re.search(rf"^Camera{view + 1} .* turned by ([\d.]+) degrees", proof.diagnosis.text)
    assert degrees and float(degrees[1]) == pytest.approx(0.3, abs=0.15)


def test_a_principal_point_that_is_five_pixels_off_is_named():
    for shift in ((5.0, 0.0), (0.0, 5.0)):
        proof = shift_center(mouse(2), 3, shift).prove()
        assert proof.verdict.suspects == (3,) and "principal point" in proof.diagnosis.text


def test_a_picture_of_another_moment_is_blamed_on_its_view():
    now, later = mouse(0), mouse(0).redrawn([np.array([[1.0, 0, 25], [0, 1, 14]])] * 6)
    mixed = now.with_masks(lambda index, mask: later.masks[index][::-1].copy() if index == 5 else mask)
    proof = mixed.prove()
    assert not proof.passed and "Camera6" in " ".join(proof.reasons)


def test_the_sentence_about_other_sizes_names_both():
    text = OTHER_FAULTS["resized"](mouse(1)).prove().diagnosis.text
    assert "512 x 512" in text and " 115" in text


def test_every_cause_has_a_sentence():
    assert set(SENTENCES) == set(CAUSES)
    assert sentence("unit", {"views": ["A", "B"], "units": "m instead of mm"}).startswith("the positions of A, B are")


def test_cameras_that_look_away_from_everything_still_end_in_a_verdict():
    turned = mouse(0)
    for view in range(6):
        turned = bump(turned, view, 180.0, (0.0, 1.0, 0.0))
    proof = turned.prove()
    assert not proof.passed and proof.diagnosis is not None
    assert all(
        value is None or np.isfinite(value) for value in (proof.record("x")["tangent"], proof.record("x")["hull"])
    )
