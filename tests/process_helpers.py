"""Small trainings by several processes, which tests start and read the results of.

Run as a program, this is one of those processes: it takes a list of jobs, and does them one after the other.
"""

import hashlib
import json
import os
import shutil
import socket
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

ROOT = Path(__file__).parents[1]


def settings(samples: Path, **training: dict) -> dict:
    """A tiny network with losses that divide by pixels and Gaussians of the whole batch."""
    defaults: dict[str, dict] = {
        "runtime": {"use_amp": False, "grad_checkpoint_every": 1, "device": "cpu", "grad_accum_steps": 2},
        "dataset": {"dataset_path": str(samples), "num_views": 6, "num_input_views": 4, "num_target_views": 2},
        "dataloader": {"num_workers": 0, "batch_size_per_gpu": 4},
        "losses": {
            "masked_l2_loss": True,
            "background_loss_weight": 0.2,
            "alpha_loss_weight": 0.3,
            "ssim_loss_weight": 0.1,
            "masked_ssim_loss": True,
            "ssim_mask": "windows",
            "opacity_loss_weight": 0.05,
            "scale_loss_weight": 0.05,
        },
        "optimizer": {"lr": 2e-3},
        "schedule": {"max_fwdbwd_passes": 6, "warmup": 2},
        "checkpointing": {"checkpoint_every": 2, "keep_last": 9},
        "logging": {"vis_every": 1000, "wandb": {"mode": "disabled", "log_every": 1}},
        "adapt": {"ema": {"decay": 0.9}},
    }
    defaults |= {key: defaults.get(key, {}) | value for key, value in training.items()}
    return {
        "model": {
            "image_tokenizer": {"image_size": 16, "patch_size": 8},
            "transformer": {"d": 32, "d_head": 16, "n_layer": 2},
            "gaussians": {"scale_bias": -3.0, "opacity_bias": 0.0},
            "init_std": None,
            "drop_background": True,
        },
        "training": defaults,
        "mouse": {"use_mouse_dataset": True, "normalize_cameras": True, "object_size": 1.2, "crop_footprint": 1.5},
    }


def shared(mapping: dict, strategy: str = "ddp", *, processes: int = 2, **training: dict) -> dict:
    """The same training by several processes: each takes its part of the batch."""
    whole = mapping["training"]["dataloader"]["batch_size_per_gpu"]
    parts = {"dataloader": {"batch_size_per_gpu": whole // processes}, "processes": {"strategy": strategy}}
    merged = {key: value | parts.get(key, {}) for key, value in mapping["training"].items()} | {
        "processes": parts["processes"]
    }
    return mapping | {"training": {key: value | training.get(key, {}) for key, value in merged.items()}}


def train(
    config: dict,
    folder: Path,
    processes: Any = None,
    *,
    load: Path | None = None,
    begin: Path | None = None,
    spoil: dict | None = None,
) -> Any:
    """Train as train_gslrm.py does.

    `begin` is put into the run's folder as its own checkpoint; `spoil` makes the loss of one process and pass, or one
    element of its gradients, not finite.
    """
    from gslrm.config_io import config_from_mapping
    from gslrm.training.processes import ALONE
    from gslrm.training.resume import resume
    from gslrm.training.trainer import Trainer

    processes = processes or ALONE
    if processes.main:
        folder.mkdir(parents=True, exist_ok=True)
        if begin is not None:
            (folder / "checkpoints").mkdir(exist_ok=True)
            (shutil.copytree if begin.is_dir() else shutil.copy)(begin, folder / "checkpoints" / begin.name)
    processes.wait()
    trainer = Trainer(config_from_mapping(config, source="test"), folder, processes)
    resume(trainer, "auto", load=load)
    if spoil:
        _spoil(trainer, spoil)
    trainer.run()
    return trainer


def _spoil(trainer: Any, spoil: dict) -> None:
    """Gradients are scaled as for float16: 3e38 leaves the range of numbers there, in one element of one tensor."""
    step = trainer.step
    if spoil["what"] == "gradient":
        trainer.update.scaler = torch.amp.GradScaler("cpu", init_scale=2.0**16)
        trainer.update.scaler.scale(torch.zeros(()))

    def spoiled(batch: Any) -> Any:
        report, rendering = step(batch)
        if (trainer.position.passes, trainer.processes.rank) != (spoil["pass"] - 1, spoil["rank"]):
            return report, rendering
        if spoil["what"] == "loss":
            return replace(report, total=report.total * float("nan")), rendering
        (element, *_) = trainer.model.gaussian_position_embeddings.flatten()
        return replace(report, total=report.total + 3e38 * (element - element.detach())), rendering

    trainer.step = spoiled


def digest(trainer: Any) -> str:
    """Of the weights and the optimiser's moments, whole."""
    from gslrm.model.spread import whole

    sums = hashlib.sha256()
    for parameter in trainer.model.parameters():
        tensors = [parameter, *trainer.update.optimizer.state.get(parameter, {}).values()]
        for tensor in tensors:
            sums.update(whole(tensor.detach()).numpy().tobytes())
    return sums.hexdigest()


def lines(folder: Path) -> list[dict]:
    """The figures that a run logged."""
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def free_port() -> int:
    """A port of this machine that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def start(command: list[str], *, processes: int) -> list[subprocess.Popen]:
    """The processes of a run, as a scheduler would start them, without torchrun."""
    port = str(free_port())
    running = []
    for rank in range(processes):
        place = {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(processes)}
        environment = {**os.environ, **place, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "OMP_NUM_THREADS": "1"}
        environment["PYTHONPATH"] = os.pathsep.join([str(ROOT), str(ROOT / "tests")])
        running.append(
            subprocess.Popen(
                [sys.executable, *command],
                env=environment,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                cwd=ROOT,
            )
        )
    return running


def launch(jobs: list[dict], folder: Path, *, processes: int = 2) -> list[list[dict]]:
    """Do jobs, `{"config": ..., "folder": ..., ...}` as `train` takes them; returns what each process says of each."""
    path = folder / f"jobs_{len(list(folder.glob('jobs_*')))}.json"
    path.write_text(json.dumps(jobs, default=str))
    running = start([__file__, str(path)], processes=processes)
    outputs = [process.communicate(timeout=300)[0] for process in running]
    assert not any(process.returncode for process in running), "\n".join(outputs)
    return [json.loads(path.with_suffix(f".{rank}").read_text()) for rank in range(processes)]


def _main(path: Path) -> None:
    from gslrm.training.processes import joined

    torch.set_num_threads(1)
    results = []
    with joined() as processes:
        for job in json.loads(path.read_text()):
            paths = {key: Path(job[key]) for key in ("folder", "load", "begin") if key in job}
            trainer = train(job["config"], processes=processes, spoil=job.get("spoil"), **paths)
            position = trainer.position
            results.append(
                {
                    "digest": digest(trainer),
                    "scale": trainer.update.scaler.get_scale(),
                    "passes": position.passes,
                    "updates": position.updates,
                    "held": sum(getattr(p, "to_local", lambda p=p: p)().numel() for p in trainer.model.parameters()),
                    "random": torch.rand(1).item(),
                }
            )
        path.with_suffix(f".{processes.rank}").write_text(json.dumps(results))


if __name__ == "__main__":
    _main(Path(sys.argv[1]))
