"""What stands between us and gsplat, tried on a stand-in: calls per camera, backgrounds, compiled constants.

The stand-in renders with the CPU backend; how close gsplat itself comes is scripts/gpu_acceptance.sh's to say.
"""

import importlib
import sys
from types import ModuleType

import pytest
import torch
from reference_rasterizer import random_scene

from gslrm.errors import UserError
from gslrm.render import cpu_backend

MODULE = "gslrm.render.gsplat_backend"


class StandIn(ModuleType):
    """gsplat with some compiled constants, which can render nothing but what CPU tensors hold."""

    def __init__(self, max_alpha: float, min_compensation: float) -> None:
        super().__init__("gsplat")
        self.__version__ = "1.5.3+local"
        self.constants = {"max_alpha": max_alpha, "min_compensation": min_compensation}
        self.cameras_seen: list[int] = []

    def rasterization(self, means, *arguments, packed: bool, **options):
        self.cameras_seen.append(arguments[4].shape[0])
        assert "backgrounds" not in options
        assert not packed
        return cpu_backend.rasterization(means, *arguments, **options, **self.constants)


@pytest.fixture
def load(monkeypatch: pytest.MonkeyPatch):
    def with_constants(max_alpha: float, min_compensation: float):
        stand_in = StandIn(max_alpha, min_compensation)
        monkeypatch.setitem(sys.modules, "gsplat", stand_in)
        monkeypatch.delitem(sys.modules, MODULE, raising=False)
        return importlib.import_module(MODULE), stand_in

    yield with_constants
    sys.modules.pop(MODULE, None)


@pytest.fixture
def scene():
    scene = random_scene(count=60, cameras=3, seed=0, dtype=torch.float32)
    scene["backgrounds"] = torch.tensor([[1.0, 0.5, 0.0], [0.2, 0.4, 0.6], [1.0, 1.0, 1.0]])
    return {**scene, "width": 56, "height": 40}


@pytest.mark.parametrize("mode", cpu_backend.RENDER_MODES)
@pytest.mark.parametrize("cameras_per_call", [1, 2, 3])
def test_any_grouping_of_cameras_gives_the_pictures_of_the_cpu_backend(load, scene, mode, cameras_per_call) -> None:
    backend, stand_in = load(0.999, 0.0)
    image, alpha, meta = backend.rasterization(**scene, render_mode=mode, cameras_per_call=cameras_per_call)
    expected, expected_alpha, expected_meta = cpu_backend.rasterization(**scene, render_mode=mode)
    torch.testing.assert_close(image, expected, rtol=0, atol=1e-6)
    assert torch.equal(alpha, expected_alpha)
    assert all(torch.equal(meta[name], expected_meta[name]) for name in expected_meta)
    assert stand_in.cameras_seen[-1] == 3 - (3 - 1) // cameras_per_call * cameras_per_call


def test_colours_per_camera_stay_with_their_camera_and_gradients_reach_everything(load, scene) -> None:
    backend, _ = load(0.999, 0.0)
    scene["colors"] = torch.rand(3, 60, 3, generator=torch.Generator().manual_seed(1))
    weights = torch.randn(3, 40, 56, 3, generator=torch.Generator().manual_seed(2))
    gradients = []
    for rasterization in (backend.rasterization, cpu_backend.rasterization):
        leaves = {name: scene[name].clone().requires_grad_() for name in scene if name not in ("Ks", "width", "height")}
        (rasterization(**{**scene, **leaves})[0] * weights).sum().backward()
        gradients.append({name: leaf.grad for name, leaf in leaves.items()})
    for name, expected in gradients[1].items():
        scale = float(expected.abs().max())
        torch.testing.assert_close(gradients[0][name], expected, rtol=0, atol=1e-5 * scale, msg=name)


@pytest.mark.parametrize(("max_alpha", "min_compensation"), [(0.999, 0.0), (0.99, 0.005)])
def test_compiled_constants_are_read_off_the_pictures(load, max_alpha, min_compensation) -> None:
    backend, _ = load(max_alpha, min_compensation)
    built = backend.compiled_constants("cpu")
    assert built.max_alpha == pytest.approx(max_alpha, abs=1e-6)
    assert built.min_compensation == pytest.approx(min_compensation, abs=1e-6)


def test_other_constants_than_the_compiled_ones_are_refused_with_the_cure(load, scene) -> None:
    backend, _ = load(0.99, 0.005)
    with pytest.raises(UserError, match=r"gsplat 1.5.3\+local is compiled with max_alpha 0.99; set render.max_alpha"):
        backend.rasterization(**scene)
    backend.rasterization(**scene, max_alpha=0.99)
    with pytest.raises(UserError, match=r"set render.min_compensation: 0.005"):
        backend.rasterization(**scene, max_alpha=0.99, rasterize_mode="antialiased")
    backend.rasterization(**scene, max_alpha=0.99, min_compensation=0.005, rasterize_mode="antialiased")
