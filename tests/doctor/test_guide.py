"""docs/memory.md says what the doctor says."""

import re
from pathlib import Path

import pytest

from gslrm.config_io import load_config
from gslrm.doctor import card, estimate, estimate_reconstruction

ROOT = Path(__file__).parents[2]
ROW = re.compile(r"\| `(\w+)` \|(.*)\|")
GUIDE = {
    match[1]: [column.strip() for column in match[2].split("|")]
    for match in ROW.finditer((ROOT / "docs/memory.md").read_text(encoding="utf-8"))
    if (ROOT / f"configs/{match[1]}.yaml").exists()
}
COMMAND = (
    "python benchmarks/doctor.py --cards 12 configs/mouse_gslrm_*.yaml configs/facelift_gslrm.yaml configs/gslrm.yaml"
)
QUICK = "mouse_gslrm_local_rtx3060"
GIB = 2**30


def test_the_guide_has_every_configuration_of_the_published_network():
    assert set(GUIDE) == {path.stem for path in (ROOT / "configs").glob("*gslrm*.yaml")}


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[] if name == QUICK else pytest.mark.slow) for name in GUIDE]
)
def test_rows_of_the_guide_are_what_the_doctor_says(name):
    config = load_config(ROOT / f"configs/{name}.yaml")
    target = card(12.0, config.training.runtime)
    now, inference = estimate(config, target), estimate_reconstruction(config, target)
    *_, together, verdict, seconds, alone = GUIDE[name]
    said = [float(together), float(seconds), float(alone)]
    computed = [now.taken / GIB, now.pass_seconds, inference.taken / GIB]
    assert said == pytest.approx(computed, abs=0.02), f"renew the table: {COMMAND}"
    assert verdict == ("fits" if now.fits else "**does not fit**")
