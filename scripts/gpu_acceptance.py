"""Find out whether everything works on this machine's GPU, how much memory it takes and how fast it is.

    bash scripts/gpu_acceptance.sh --json gpu_acceptance.json
    python scripts/gpu_acceptance.py --device cpu --quick --json OUT.json

Compares gsplat with the CPU rasterizer on all recorded scenes, takes a training step in float16 and in bfloat16,
trains the RTX 3060 configuration under a memory cap, compares its peak with what scripts/doctor.py says, and measures
training and inference at three picture sizes, all on made-up pictures with random weights. The second command is a dry
run without a GPU: same code, tiny sizes, the CPU rasterizer in gsplat's place. Ends with status 1 when a check fails, 2
when something needed is missing.
"""

import argparse
import json
import platform
import sys
import time
from collections.abc import Callable
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gslrm import cli
from gslrm.errors import UserError

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "tests"), str(ROOT / "benchmarks")]  # recorded scenes and workloads are kept there

if TYPE_CHECKING:
    from gpu_workload import Workload

    from gslrm.config import Config

FULL_CONFIG, QUICK_CONFIG = "configs/mouse_gslrm_local_rtx3060.yaml", "configs/small_cpu.yaml"
FULL_SIZES, QUICK_SIZES = (256, 384, 512), (16, 24, 32)
GIB = 2**30
# Largest errors against the CPU rasterizer in float64. gsplat's fast exponentials and its backward pass, which starts
# from 1 - alpha in float32, cost some 1e-4; one pixel may flip at a threshold, by 1/255.
MOST_PIXELS, MOST_SHARE, ANY_PIXEL, DEPTH, GRADIENT = 1e-4, 0.995, 2 / 255, 1e-3, 5e-3
ESTIMATE = 0.25  # share by which the doctor's estimate of memory may miss what a training pass allocates
COVERED = 0.02  # expected depth is compared where alpha is above this: it divides by alpha

Row = dict[str, Any]


def main() -> int:
    """Run all sections; 1 if a check failed."""
    arguments = parse_arguments()
    require_machine(arguments)
    import torch

    sections: dict[str, Callable[[], Row]] = {
        "parity": lambda: parity(arguments),
        "training_steps": lambda: training_steps(arguments),
        "memory": lambda: memory(arguments),
        "throughput": lambda: throughput(arguments),
    }
    result: Row = {"command": " ".join(["python", *sys.argv]), "machine": describe_machine(arguments)}
    with cli.progress("sections", len(sections)) as bar:
        for name, section in sections.items():
            start = time.perf_counter()
            result[name] = attempt(section)
            bar.advance(note=name)
            cli.report(f"{name}: {'passed' if result[name]['passed'] else 'FAILED'}, {json.dumps(result[name])}")
            result[name]["seconds"] = round(time.perf_counter() - start, 1)
            if arguments.device == "cuda":
                torch.cuda.empty_cache()
    result["passed"] = all(result[name]["passed"] for name in sections)
    arguments.json.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    cli.report(f"{'all checks passed' if result['passed'] else 'SOME CHECKS FAILED'}; figures are in {arguments.json}")
    return 0 if result["passed"] else 1


def attempt(section: Callable[[], Row]) -> Row:
    """A section's findings; an error fails it, and the others still tell what they can."""
    try:
        return section()
    except (RuntimeError, ImportError, OSError, ValueError, UserError) as error:
        return {"passed": False, "error": f"{type(error).__name__}: {error}"}


def parse_arguments() -> argparse.Namespace:
    """The options."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, default=Path("gpu_acceptance.json"), help="where the figures go")
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda", help="cpu: a dry run without a GPU")
    parser.add_argument("--quick", action="store_true", help="tiny sizes: shows that it works, measures nothing")
    parser.add_argument("--config", default=None, metavar="C.yaml", help=f"what is trained; default {FULL_CONFIG}")
    parser.add_argument("--cap-gib", type=float, default=12.0, metavar="GIB", help="memory of the card to imitate")
    parser.add_argument("--repeats", type=int, default=5, help="timed passes per figure")
    parser.add_argument(
        "--allow-missing-gsplat", action="store_true", help="go on without gsplat, with the CPU rasterizer in its place"
    )
    return parser.parse_args()


def require_machine(arguments: argparse.Namespace) -> None:
    """Refuse at once what would fail later.

    Raises:
        UserError: no torch, no CUDA device or no gsplat, with the cure.
    """
    if find_spec("torch") is None:
        raise UserError("torch is not installed in this Python; install it, or give --wheels DIR to gpu_acceptance.sh")
    import torch

    if arguments.device == "cpu":
        return
    if not torch.cuda.is_available():
        raise UserError(
            f"torch {torch.__version__} sees no CUDA device (nvidia-smi tells whether the driver does); a dry run "
            "without one: python scripts/gpu_acceptance.py --device cpu --quick"
        )
    if find_spec("gsplat") is None and not arguments.allow_missing_gsplat:
        raise UserError(
            "gsplat is not installed: pip install gsplat (it needs nvcc at first use unless the wheel is prebuilt), "
            "give --wheels DIR to gpu_acceptance.sh, or go on without: --allow-missing-gsplat"
        )


def describe_machine(arguments: argparse.Namespace) -> Row:
    """What the figures depend on."""
    import torch

    machine: Row = {"python": platform.python_version(), "torch": torch.__version__, "date": time.strftime("%Y-%m-%d")}
    if arguments.device == "cuda":
        properties = torch.cuda.get_device_properties(0)
        machine |= {"gpu": properties.name, "gpu_bytes": properties.total_memory, "cuda": torch.version.cuda}
    if find_spec("gsplat") is not None:
        machine["gsplat"] = version("gsplat")
    return machine


def parity(arguments: argparse.Namespace) -> Row:
    """Pictures and gradients of all recorded scenes, against the CPU rasterizer in float64 with the same constants."""
    from gpu_workload import compiled_constants
    from raster_fixtures import NAMES

    constants = compiled_constants(arguments.device)
    scenes = {name: compare(name, constants) for name in cli.track(NAMES, "recorded scenes")}
    passed = all(scene["passed"] for scene in scenes.values())
    return {"passed": passed, "tried": "gsplat" if constants else "cpu", "constants": constants, "scenes": scenes}


def compare(name: str, constants: dict[str, float]) -> Row:
    """Largest errors on one scene: of gsplat if its `constants` are given, else of the CPU rasterizer in float32."""
    import torch
    from raster_fixtures import NEARLY_ZERO, load_fixture

    from gslrm.render import cpu_backend

    candidate, on_device = cpu_backend.rasterization, "cpu"
    if constants:
        from gslrm.render import gsplat_backend

        candidate, on_device = gsplat_backend.rasterization, "cuda:0"
    outputs, gradients = [], []
    for rasterize, precision, device in (
        (cpu_backend.rasterization, torch.float64, "cpu"),
        (candidate, torch.float32, on_device),
    ):
        fixture = load_fixture(name, precision, device)
        image, alpha, _ = rasterize(**{**fixture.arguments, **constants}, render_mode="RGB+ED")
        fixture.loss(image, alpha).backward()
        outputs.append((image[..., :3].detach(), alpha.detach(), image[..., 3:].detach()))
        gradients.append({key: leaf.grad.cpu().double() for key, leaf in fixture.inputs.items()})
    (rgb, alpha, depth), same = outputs[0], [output.cpu().double() for output in outputs[1]]
    errors = torch.cat([(rgb - same[0]).abs().flatten(), (alpha - same[1]).abs().flatten()])
    covered = alpha > COVERED
    depth_error = ((depth - same[2]).abs() / depth.abs().clamp_min(1e-9))[covered]
    row: Row = {
        "picture": float(errors.max()),
        "pixels_within": float((errors <= MOST_PIXELS).double().mean()),
        "depth": float(depth_error.max()) if depth_error.numel() else 0.0,
    }
    for key, expected in gradients[0].items():
        scale = float(expected.abs().max())
        row[f"g_{key}"] = float((gradients[1][key] - expected).abs().max()) / (scale if scale > NEARLY_ZERO else 1.0)
    close = row["picture"] <= ANY_PIXEL and row["pixels_within"] >= MOST_SHARE and row["depth"] <= DEPTH
    row["passed"] = close and all(error <= GRADIENT for key, error in row.items() if key.startswith("g_"))
    return row


def workload(arguments: argparse.Namespace, *overrides: str) -> "Workload":
    """The network to be tried, with its data and losses."""
    from gpu_workload import Workload

    return Workload(configuration(arguments, *overrides))


def configuration(arguments: argparse.Namespace, *overrides: str) -> "Config":
    """What the network to be tried is configured as."""
    from gpu_workload import compiled_constants

    from gslrm.config_io import load_config

    settings = [f"training.runtime.device={arguments.device}"]
    settings += [f"render.{name}={round(value, 4)}" for name, value in compiled_constants(arguments.device).items()]
    if arguments.quick:
        settings += ["model.transformer.n_layer=2", "model.transformer.d=64", "training.losses.ssim_loss_weight=0"]
        settings += [f"model.image_tokenizer.image_size={QUICK_SIZES[0]}"]
    path = arguments.config or (QUICK_CONFIG if arguments.quick else FULL_CONFIG)
    return load_config(ROOT / path, [*settings, *overrides])


def training_steps(arguments: argparse.Namespace) -> Row:
    """One update in each precision; float16 may skip some until its loss scale fits."""
    kinds = ("fp16", "bf16") if arguments.device == "cuda" else ("bf16",)
    rows = {kind: workload(arguments, f"training.runtime.amp_dtype={kind}").first_update() for kind in kinds}
    return {"passed": all(row["taken"] for row in rows.values()), **rows}


def memory(arguments: argparse.Namespace) -> Row:
    """Peaks under the cap: a training pass as configured, and six views of the full size with and without deferral."""
    import torch
    from gpu_workload import render_full_size, within_memory

    if arguments.device == "cuda":
        share = arguments.cap_gib * GIB / torch.cuda.get_device_properties(0).total_memory
        torch.cuda.set_per_process_memory_fraction(min(1.0, share))
    side = QUICK_SIZES[0] if arguments.quick else 512
    rows = {"training": within_memory(lambda: workload(arguments).measure(arguments.repeats), arguments.device)}
    for deferred in (False, True):
        name = f"{6 * side**2 + 2} Gaussians, 6 views of {side} px{', deferred' if deferred else ''}"
        rows[name] = within_memory(lambda d=deferred: render_full_size(arguments.device, side, d), arguments.device)
    if arguments.device == "cuda":
        torch.cuda.set_per_process_memory_fraction(1.0)
    fits = "out_of_memory" not in rows["training"] and "out_of_memory" not in rows[name]
    rows["estimate"] = compare_estimate(arguments, rows["training"])
    return {
        "passed": fits and rows["estimate"]["passed"],
        "cap_gib": arguments.cap_gib if arguments.device == "cuda" else None,
        **rows,
    }


def compare_estimate(arguments: argparse.Namespace, training: Row) -> Row:
    """The doctor's estimate of what lives at the peak, beside what a pass allocated; on a CPU that is not known."""
    from gslrm.doctor import estimate, this_machine

    config = configuration(arguments, "training.runtime.grad_accum_steps=1")  # as the workload trains
    estimated = estimate(config, this_machine(config.training.runtime)).rehearsal.peak
    return judge_estimate(estimated, training.get("peak_bytes", {}).get("allocated"))


def judge_estimate(estimated: int, allocated: int | None) -> Row:
    """Whether an estimate is near what was allocated, where that is known."""
    if allocated is None:
        return {"passed": True, "estimated_bytes": estimated}
    ratio = estimated / allocated
    return {"passed": abs(ratio - 1) <= ESTIMATE, "estimated_bytes": estimated, "ratio": ratio}


def throughput(arguments: argparse.Namespace) -> Row:
    """Training and inference at three picture sizes; a size that does not fit is recorded, not a failure."""
    from gpu_workload import within_memory

    rows = {}
    for size in QUICK_SIZES if arguments.quick else FULL_SIZES:
        measure = lambda s=size: workload(arguments, f"model.image_tokenizer.image_size={s}").measure(arguments.repeats)  # noqa: E731
        rows[f"{size} px"] = within_memory(measure, arguments.device)
    return {"passed": any("out_of_memory" not in row for row in rows.values()), **rows}


if __name__ == "__main__":
    cli.run(main)
