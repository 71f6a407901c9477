from gslrm.doctor import machine


def test_a_package_of_the_wrong_version_is_a_fault_with_its_cure(monkeypatch):
    monkeypatch.setattr(
        machine, "requires", lambda _: ["numpy>=99", "no-such-package-here>=1", "gsplat>=1; extra == 'cuda'"]
    )
    monkeypatch.setattr(machine, "version", _versions({"numpy": "2.0"}))
    numpy, missing, optional = machine._packages()
    assert numpy.cure == "python -m pip install 'numpy>=99'"
    assert missing.cure.startswith("python -m pip install 'no-such-package-here")
    assert optional.cure == ""


def test_a_machine_that_runs_these_tests_has_a_device_and_a_rasterizer():
    findings = {finding.name: finding for finding in machine.examine_machine()}
    assert findings["device"].cure == ""
    assert "numba" in findings["rasterizer"].value


def _versions(installed):
    def version(name):
        if name not in installed:
            raise machine.PackageNotFoundError(name)
        return installed[name]

    return version
