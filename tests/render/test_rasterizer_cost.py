"""What the CPU rasterizer may cost: a share of its torch twin's time, so many bytes, nothing that grows faster."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
LEAST_RATIO = 8.0  # measured 25 and more on one thread (docs/rasterizer.md): room for other processors, not for a bug
MOST_MEMORY = 4 * 10**9
FULL_SIZE = """
import resource, torch
from gslrm.cameras import Cameras
from gslrm.render import build_rasterizer
from gslrm.types import Gaussians

generator = torch.Generator().manual_seed(0)
count = 2 + 6 * 512 * 512
means = torch.randn(1, count, 3, generator=generator).mul_(0.25)
gaussians = Gaussians(
    means, torch.full_like(means, 0.004), torch.randn(1, count, 4, generator=generator),
    torch.rand(1, count, generator=generator), torch.randn(1, count, 1, 3, generator=generator),
)
angle = torch.arange(6) * (torch.pi / 3)
position = torch.stack([2.7 * angle.cos(), 2.7 * angle.sin(), torch.full((6,), 0.3)], dim=-1)[None]
cameras = Cameras.look_at(
    position, torch.zeros(1, 6, 3), torch.tensor([0.0, 0.0, 1.0]), focal=torch.full((1, 6, 2), 549.0),
    center=torch.full((1, 6, 2), 256.0), height=512, width=512,
)
with torch.set_grad_enabled(GRADIENTS):
    if GRADIENTS:
        gaussians = gaussians.map(lambda tensor: tensor.requires_grad_())
    rendering = build_rasterizer("cpu", CONFIG)(gaussians, cameras, torch.ones(1, 3))
    if GRADIENTS:
        rendering.rgb.square().mean().backward()
assert rendering.rgb.isfinite().all() and rendering.alpha.max() > 0.9
raise SystemExit(f"peak {1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss}")
"""


@pytest.fixture
def cases(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    import rasterizer_cases

    return rasterizer_cases


@pytest.mark.parametrize("opacities", ["trained", "untrained"])
def test_the_twin_takes_many_times_as_long(cases, opacities) -> None:
    import numba
    import torch

    threads = torch.get_num_threads(), numba.get_num_threads()
    cases.set_threads(1)
    try:
        scene = cases.Case(count=16_384, size=128, opacities=opacities, views=1).scene()
        times = cases.medians({"ours": cases.ours, "twin": cases.twin}, scene, repeats=3)
    finally:
        torch.set_num_threads(threads[0])
        numba.set_num_threads(threads[1])
    assert times["twin"].processor / times["ours"].processor >= LEAST_RATIO


def test_both_contenders_of_the_benchmark_render_the_same_picture(cases) -> None:
    scene = cases.Case(count=500, size=48, opacities="trained", views=2).scene()
    for ours, twin in zip(cases.ours(scene), cases.twin(scene), strict=True):
        assert (ours - twin).abs().max() < 1e-3
        assert (ours - twin).abs().mean() < 1e-5


@pytest.mark.slow
def test_the_benchmark_runs_and_writes_its_figures_and_its_chart(tmp_path) -> None:
    command = [sys.executable, "benchmarks/rasterizer.py", "--quick", "--repeats", "1"]
    peer = ["--peer", "gslrm.render.cpu_backend:rasterization"]
    outputs = ["--json", str(tmp_path / "figures.json"), "--plot", str(tmp_path / "chart.png")]
    subprocess.run([*command, *peer, *outputs], cwd=ROOT, check=True)
    figures = json.loads((tmp_path / "figures.json").read_text())
    assert all(row["twin_ratio"] > 1 and row["peer_ratio"] > 0 for row in figures["cases"])
    assert figures["first_call_seconds"]["cached"] < figures["first_call_seconds"]["cold"]
    assert (tmp_path / "chart.png").stat().st_size > 0


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="peak memory is counted in kilobytes on Linux only")
@pytest.mark.parametrize("mode", ["pictures", "gradients", "deferred gradients"])
def test_six_views_of_the_full_size_fit_in_four_gigabytes(mode) -> None:
    config = "__import__('gslrm.config').config.RenderConfig(deferred_backward=True)" if "deferred" in mode else "None"
    program = FULL_SIZE.replace("GRADIENTS", str("gradients" in mode)).replace("CONFIG", config)
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=False)
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith("peak "), done.stderr
    assert int(last.split()[1]) < MOST_MEMORY, last
