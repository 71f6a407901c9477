"""Configurations whose peak of memory on a CPU is large enough to be seen, and the measurement of one."""

import ctypes
import gc
import json
import os
import re
import subprocess
import sys
import time
from itertools import pairwise
from pathlib import Path
from typing import Any

from gslrm.config import Config
from gslrm.config_io import config_from_mapping

ROOT = Path(__file__).parents[1]
STATUS, RESET = Path("/proc/self/status"), Path("/proc/self/clear_refs")
PASSES = 2  # moments are there in the second
DISC = 0.39  # share of pixels inside the masks of made-up batches
# glibc raises the size from which it gives memory back as it goes; with that fixed, a process holds what lives.
GIVE_BACK = {"MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_TRIM_THRESHOLD_": "65536"}

Settings = dict[str, object]  # dotted key to value
BASE: Settings = {
    "model.image_tokenizer.image_size": 256,
    "model.transformer.d": 512,
    "model.transformer.n_layer": 8,
    "model.gaussians.scale_bias": -5.0,  # splats of one pixel; larger ones only take time
    "training.runtime.device": "cpu",
    "training.runtime.amp_dtype": "fp32",
    "training.runtime.grad_checkpoint_every": 1,
    "training.dataset.num_views": 4,
    "training.dataset.num_input_views": 2,
}
SMALL: Settings = {"model.image_tokenizer.image_size": 128}
EVERY, BATCH = "training.runtime.grad_checkpoint_every", "training.dataloader.batch_size_per_gpu"
CASES: dict[str, Settings] = {
    "128 px, all activations": SMALL | {EVERY: 0},
    "128 px, every block recomputed, average of weights": SMALL | {"training.adapt.ema.decay": 0.99},
    "256 px, heads only": {EVERY: 0, "training.adapt.preset": "decoder_only"},
    "256 px, all activations": {EVERY: 0},
    "256 px, every block recomputed": {},
    "256 px, every second block": {EVERY: 2},
    "256 px, batch 2, all activations": {EVERY: 0, BATCH: 2},
    "256 px, batch 2, every second block": {EVERY: 2, BATCH: 2},
    "256 px, 8 views": {"training.dataset.num_views": 8},
    "256 px, 8 views, deferred": {"training.dataset.num_views": 8, "render.deferred_backward": True},
    "256 px, LoRA": {"training.adapt.lora.rank": 8},
    "256 px, transformer frozen": {EVERY: 0, "training.adapt.preset": "freeze_all"},
    "256 px, average of weights": {"training.adapt.ema.decay": 0.99},
    "256 px, moments offloaded": {"training.optimizer.offload": True},
    "256 px, moments in 8 bits": {"training.optimizer.kind": "adamw8bit"},
    "256 px, splats of ten pixels": {"model.gaussians.scale_bias": -2.3, "training.dataset.num_views": 8},
    "256 px, background dropped": {EVERY: 0, "model.drop_background": True},
    "256 px, SSIM and silhouette": {
        "training.dataset.num_views": 8,
        "training.losses.ssim_loss_weight": 0.2,
        "training.losses.alpha_loss_weight": 0.1,
    },
    "256 px, bf16, all activations": {EVERY: 0, "training.runtime.amp_dtype": "bf16"},
    "256 px, bf16, every block recomputed": {"training.runtime.amp_dtype": "bf16"},
    "512 wide, 24 blocks, 128 px": {"model.image_tokenizer.image_size": 128, "model.transformer.n_layer": 24},
}
FAST = tuple(name for name in CASES if name.startswith("128 px"))


def configuration(settings: Settings) -> Config:
    """Defaults with `BASE` and some settings."""
    mapping: dict[str, Any] = {}
    for key, value in (BASE | settings).items():
        *sections, name = key.split(".")
        place = mapping
        for section in sections:
            place = place.setdefault(section, {})
        place[name] = value
    return config_from_mapping(mapping, source="benchmark")


def measure(settings: Settings, *, give_back: bool = True) -> dict[str, float]:
    """Bytes that training passes of a new process add to what it held before, and seconds of a pass.

    With `give_back` the C library returns freed memory at once; without, as it does by itself.
    """
    environment = {**os.environ, "OMP_WAIT_POLICY": "PASSIVE", **(GIVE_BACK if give_back else {})}
    environment["PYTHONPATH"] = os.pathsep.join([str(ROOT), str(ROOT / "benchmarks")])
    command = [sys.executable, __file__, json.dumps(settings)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(done.stderr)
    return json.loads(done.stdout.splitlines()[-1])


def _measure_here(settings: Settings) -> dict[str, float]:
    from gpu_workload import Workload

    tiny = {"model.transformer.d": 64, "model.transformer.n_layer": 2, "model.image_tokenizer.image_size": 32}
    warm = Workload(configuration(settings | tiny))  # kernels are compiled, threads started
    for _ in range(2):
        warm.train_pass()
    del warm
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    held = _status("VmRSS")
    RESET.write_text("5")  # the peak begins anew here (proc(5))
    workload = Workload(configuration(settings))
    moments = [time.perf_counter() for _ in range(PASSES) if workload.train_pass()]
    seconds = min(after - before for before, after in pairwise(moments))
    return {"before": held, "peak": _status("VmHWM") - held, "seconds": seconds}


def _status(name: str) -> int:
    found = re.search(rf"{name}:\s+(\d+) kB", STATUS.read_text())
    assert found is not None
    return 1024 * int(found[1])


if __name__ == "__main__":
    sys.stdout.write(json.dumps(_measure_here(json.loads(sys.argv[1]))) + "\n")
