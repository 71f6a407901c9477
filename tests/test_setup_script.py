import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SCRIPT = ROOT / "setup_local_rtx3060.sh"
TOOLS = ("bash", "sh", "sed", "awk", "grep", "sort", "head", "dirname", "cp", "rm", "mkdir", "env", "cat")


@pytest.fixture
def machine(tmp_path):
    """A PATH with the system's basic tools only, to which a test adds what its machine has."""
    programs = tmp_path / "bin"
    programs.mkdir()
    for name in TOOLS:
        (programs / name).symlink_to(str(shutil.which(name)))
    return tmp_path


def install(path: Path, output: str, *, status: int = 0) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\necho \"$0 $@\" >> '{path}.calls'\ncat <<'END'\n{output}\nEND\nexit {status}\n")
    path.chmod(0o755)


def install_gpu(machine: Path, *, driver: str) -> None:
    header = f"| NVIDIA-SMI 550.54.15    Driver Version: 550.54.15    CUDA Version: {driver} |"
    install(machine / "bin" / "nvidia-smi", header)


def install_toolkit(machine: Path, *, version: str, name: str = "cuda-12.4") -> Path:
    install(machine / "local" / name / "bin" / "nvcc", f"Cuda compilation tools, release {version}, V{version}.131")
    return machine / "local" / name


def run(machine: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {"PATH": str(machine / "bin"), "HOME": str(machine), "TMPDIR": str(machine)}
    environment["MOUSE_FACELIFT_CUDA_ROOT"] = str(machine / "local")
    command = [str(machine / "bin" / "bash"), str(SCRIPT), *arguments]
    return subprocess.run(
        command, capture_output=True, text=True, env=environment, check=False, cwd=machine, timeout=60
    )


def planned(machine: Path, *arguments: str) -> str:
    done = run(machine, "mouse_env", "--dry-run", *arguments)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_without_a_gpu_it_says_so_and_installs_the_pinned_torch(machine):
    install(machine / "bin" / "conda", "base /opt/conda")
    output = planned(machine)
    assert "No GPU" in output
    assert "s/\\^torch==.\\*/torch==2.13.0/" in output
    assert "torch==2.13.0\n" in (ROOT / "constraints.txt").read_text()
    assert "CUDA_HOME" not in output


@pytest.mark.parametrize(
    ("driver", "release"),
    [("12.4", "2.6.0"), ("12.6", "2.7.1"), ("12.9", "2.10.0"), ("13.0", "2.13.0"), ("13.10", "2.13.0")],
)
def test_the_release_is_the_newest_that_the_driver_runs(machine, driver, release):
    install(machine / "bin" / "conda", "base /opt/conda")
    install_gpu(machine, driver=driver)
    output = planned(machine)
    assert f"torch=={release}/" in output
    assert "gsplat is\nleft out" in output


@pytest.mark.parametrize(("driver", "release"), [("12.4", "2.6.0"), ("13.0", "2.10.0")])
def test_the_release_has_the_major_version_of_the_toolkit_that_compiles_gsplat(machine, driver, release):
    install(machine / "bin" / "conda", "base /opt/conda")
    install_gpu(machine, driver=driver)
    toolkit = install_toolkit(machine, version="12.4")
    install_toolkit(machine, version="11.8", name="cuda")
    output = planned(machine)
    assert f"torch=={release}/" in output
    assert f"CUDA_HOME={toolkit}" in output
    assert "PYTORCH_CUDA_ALLOC_CONF=max_split_size_mb:128" in output
    assert "dev\\,cuda" in output or "dev,cuda" in output


def test_a_toolkit_that_no_torch_fits_leaves_gsplat_out(machine):
    install(machine / "bin" / "conda", "base /opt/conda")
    install_gpu(machine, driver="12.4")
    install_toolkit(machine, version="11.8", name="cuda")
    output = planned(machine)
    assert "torch==2.6.0/" in output
    assert "CUDA_HOME=" not in output


def test_a_driver_that_is_too_old_is_told_what_to_install(machine):
    install(machine / "bin" / "conda", "base /opt/conda")
    install_gpu(machine, driver="11.8")
    done = run(machine, "mouse_env", "--dry-run")
    assert done.returncode == 1
    assert "Install driver 550 or newer" in done.stderr
    assert "torch==2.13.0/" in planned(machine, "--cpu")


def test_a_broken_driver_is_an_error_with_its_own_words(machine):
    install(machine / "bin" / "conda", "base /opt/conda")
    install(machine / "bin" / "nvidia-smi", "Failed to initialize NVML: Driver/library version mismatch", status=18)
    done = run(machine, "mouse_env", "--dry-run")
    assert done.returncode == 1
    assert "version mismatch" in done.stderr


def test_a_dry_run_changes_nothing(machine):
    install(machine / "bin" / "conda", "base /opt/conda")
    before = sorted(machine.rglob("*"))
    output = planned(machine)
    calls = machine / "bin" / "conda.calls"
    assert [line.split()[1:] for line in calls.read_text().splitlines()] == [["env", "list"]]
    assert sorted(machine.rglob("*")) == sorted([*before, calls])
    assert "+ conda create -y -n mouse_env" in output


def test_the_last_command_is_the_doctor(machine):
    install(machine / "bin" / "conda", "base /opt/conda")
    commands = [line for line in planned(machine).splitlines() if line.startswith("+")]
    assert commands[-1] == "+ conda run --no-capture-output -n mouse_env python scripts/doctor.py"


def test_an_existing_environment_is_completed(machine):
    install(machine / "bin" / "conda", "# environments\nbase  /opt/conda\nmouse_env  /opt/conda/envs/mouse_env")
    output = planned(machine)
    assert "mouse_env exists" in output
    assert "create" not in output


@pytest.mark.parametrize("name", ["mamba", "micromamba"])
def test_other_tools_than_conda_serve_as_well(machine, name):
    install(machine / "bin" / name, "base /opt/conda")
    assert f"+ {name} run -n mouse_env python scripts/doctor.py" in planned(machine)


def test_without_any_conda_it_says_what_to_install(machine):
    done = run(machine, "mouse_env")
    assert done.returncode == 1
    assert "install Miniforge" in done.stderr


def test_a_dry_run_needs_no_conda(machine):
    done = run(machine, "mouse_env", "--dry-run")
    assert done.returncode == 0, done.stderr
    assert "+ conda create -y -n mouse_env" in done.stdout
    assert "commands are shown as for conda" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "status"), [([], 2), (["a", "b"], 1), (["a", "--fast"], 1), (["a b"], 1), (["--help"], 0)]
)
def test_wrong_arguments_end_with_a_sentence(machine, arguments, status):
    done = run(machine, *arguments)
    assert done.returncode == status
    assert "usage:" in done.stdout + done.stderr or done.stderr.startswith("error: ")


def test_a_real_run_gives_every_command_to_conda_in_order(machine):
    install(machine / "bin" / "conda", "base /opt/conda")
    done = run(machine, "mouse_env")
    assert done.returncode == 0, done.stderr
    calls = [line.split()[1:] for line in (machine / "bin" / "conda.calls").read_text().splitlines()]
    assert calls[1][:4] == ["create", "-y", "-n", "mouse_env"]
    assert "install" in calls[2]
    constraints = machine / "mouse-facelift-constraints-mouse_env.txt"
    assert "torch==2.13.0\n" in constraints.read_text()


def test_the_scripts_are_clean_for_shellcheck():
    shellcheck = shutil.which("shellcheck")
    if shellcheck is None:
        pytest.skip("shellcheck is not installed")
    scripts = [str(SCRIPT), str(ROOT / ".ci" / "run")]
    done = subprocess.run([shellcheck, *scripts], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def test_the_continuous_integration_script_can_be_executed():
    assert os.access(ROOT / ".ci" / "run", os.X_OK)
