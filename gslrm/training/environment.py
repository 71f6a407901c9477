"""What a run was made with: resolved configuration, code version and machine, written before the first pass."""

import platform
import shutil
import subprocess
import sys
from importlib.metadata import distributions
from pathlib import Path

import torch

from gslrm.config import Config
from gslrm.config_io import save_config
from gslrm.export import write_json

PACKAGES = ("torch", "numpy", "numba", "gsplat", "pydantic", "opencv-python-headless", "pytorch-msssim", "wandb")
REPOSITORY = Path(__file__).resolve().parents[2]


def record_environment(run_dir: Path, config: Config) -> None:
    """Write config.yaml (loads equal) and environment.json into the run folder."""
    run_dir.mkdir(parents=True, exist_ok=True)
    save_config(config, run_dir / "config.yaml")
    installed = {item.metadata["Name"]: item.version for item in distributions()}
    write_json(
        run_dir / "environment.json",
        {
            "command": sys.argv,
            "python": platform.python_version(),
            "platform": platform.platform(),
            "device": torch.cuda.get_device_name() if torch.cuda.is_available() else platform.processor() or "cpu",
            "threads": torch.get_num_threads(),
            "packages": {name: installed[name] for name in PACKAGES if name in installed},
            "git_commit": _git("rev-parse", "HEAD"),
            "git_diff": _git("diff", "HEAD"),
        },
    )


def _git(*arguments: str) -> str | None:
    """Output of a git command about this code, none where the code is not in a repository."""
    program = shutil.which("git")
    if program is None:
        return None
    done = subprocess.run([program, "-C", str(REPOSITORY), *arguments], capture_output=True, text=True, check=False)
    return done.stdout.strip() if done.returncode == 0 else None
