import pytest

from gslrm import doctor
from gslrm.config import Config
from gslrm.config_io import config_from_mapping


def test_the_published_architecture_has_the_published_size():
    size = doctor.estimate(config_from_mapping({"training": {"dataset": {"num_input_views": 6}}}, source="test"))
    assert (size.parameters, size.tokens, size.gaussians) == (303_565_824, 24_578, 1_572_866)


@pytest.mark.parametrize(
    ("section", "key", "value"),
    [("runtime", "grad_checkpoint_every", 0), ("runtime", "use_amp", False), ("dataset", "num_input_views", 8)],
)
def test_what_keeps_more_numbers_needs_more_memory(section, key, value):
    more = config_from_mapping({"training": {section: {key: value}}}, source="test")
    assert doctor.estimate(more).activation_bytes > doctor.estimate(Config()).activation_bytes


def test_memory_grows_with_the_batch_and_not_with_accumulation():
    one, two = (
        doctor.estimate(config_from_mapping({"training": {"dataloader": {"batch_size_per_gpu": size}}}, source="test"))
        for size in (1, 2)
    )
    assert two.activation_bytes == 2 * one.activation_bytes
    assert two.state_bytes == one.state_bytes


def test_a_package_of_the_wrong_version_is_a_fault_with_its_cure(monkeypatch):
    monkeypatch.setattr(
        doctor, "requires", lambda _: ["numpy>=99", "no-such-package-here>=1", "gsplat>=1; extra == 'cuda'"]
    )
    monkeypatch.setattr(doctor, "version", _versions({"numpy": "2.0"}))
    numpy, missing, optional = doctor._packages()
    assert numpy.cure == "python -m pip install 'numpy>=99'"
    assert missing.cure.startswith("python -m pip install 'no-such-package-here")
    assert optional.cure == ""


def test_a_machine_that_runs_these_tests_has_a_device_and_a_rasterizer():
    findings = {finding.name: finding for finding in doctor.examine_machine()}
    assert findings["device"].cure == ""
    assert "numba" in findings["rasterizer"].value


def _versions(installed):
    def version(name):
        if name not in installed:
            raise doctor.PackageNotFoundError(name)
        return installed[name]

    return version
