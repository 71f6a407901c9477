"""Whatever finite numbers come in, pictures and gradients are finite, and nothing outside the pictures is written."""

from types import ModuleType

import numpy as np
import pytest
import torch
from torch import Tensor

from gslrm.render import cpu_pipeline
from gslrm.render.cpu_backend import RENDER_MODES, rasterization

QUICK, FULL = 300, 10_000
GUARD, PATTERN = 64, 0xA5  # bytes on both sides of every array, and what they hold
NEAR = 0.2
MAX_COUNT = 40


class GuardedNumpy(ModuleType):
    """numpy whose new arrays stand between guards that show whether a kernel wrote beside them."""

    def __init__(self) -> None:
        super().__init__("numpy")
        self.blocks: list[np.ndarray] = []

    def __getattr__(self, name: str):
        return getattr(np, name)

    def empty(self, shape, dtype=float) -> np.ndarray:
        size = int(np.prod(shape)) * np.dtype(dtype).itemsize
        block = np.full(size + 2 * GUARD, PATTERN, np.uint8)
        self.blocks.append(block)
        return block[GUARD : GUARD + size].view(dtype).reshape(shape)

    def empty_like(self, array) -> np.ndarray:
        return self.empty(array.shape, array.dtype)

    def zeros(self, shape, dtype=float) -> np.ndarray:
        array = self.empty(shape, dtype)
        array[...] = 0
        return array

    def zeros_like(self, array) -> np.ndarray:
        return self.zeros(array.shape, array.dtype)

    def assert_intact(self) -> None:
        for block in self.blocks:
            assert (block[:GUARD] == PATTERN).all()
            assert (block[-GUARD:] == PATTERN).all()
        self.blocks.clear()


def pick(generator: np.random.Generator, count: int, usual: np.ndarray, *others) -> np.ndarray:
    """The usual value for most Gaussians, one of the others for the rest."""
    choice = np.maximum(0, generator.integers(-2 * len(others), len(others) + 1, count))
    alternatives = [np.broadcast_to(np.asarray(values, float), usual.shape) for values in (usual, *others)]
    return np.stack(alternatives)[choice, np.arange(count)]


def wild_scene(seed: int) -> tuple[dict[str, Tensor], dict]:
    """Arguments of `rasterization`: Gaussians of every kind that an implementation may trip over."""
    g = np.random.default_rng(seed)
    count, cameras = int(g.integers(0, MAX_COUNT)), int(g.integers(1, 4))
    width, height = (int(n) for n in g.integers(1, 71, 2))
    focal = np.exp(g.uniform(np.log(3), np.log(300), (cameras, 2)))
    center = g.uniform(-0.2, 1.2, (cameras, 2)) * [width, height]
    depth = pick(
        g, count, g.uniform(0.1, 8, count), g.uniform(-5, 0, count), NEAR, 0.0, -NEAR, 10.0 ** g.uniform(-6, 9)
    )
    pixel = pick(g, count, g.uniform(-0.2, 1.2, (count, 2)), g.integers(0, 2, (count, 2)), [0.5, 0.5]) * [width, height]
    points = np.column_stack([(pixel - center[0]) / focal[0] * depth[:, None], depth])
    size = np.abs(depth)[:, None] / focal[0].mean()
    normal = g.normal(size=(count, 3))
    scales = pick(
        g, count, size * np.exp(normal), np.zeros((count, 3)), 1e-12 * np.exp(normal), 10.0 ** (3 * np.abs(normal)),
        10.0 ** g.uniform(3, 12, (count, 1)), size * 10.0 ** (4 * g.integers(-1, 2, (count, 3))),
    )  # fmt: skip
    quats = g.normal(size=(count, 4))
    quats *= pick(g, count, np.ones((count, 1)), [0.0], [1e-18], [1e18])
    threshold = float(np.float32(1 / 255))
    opacities = pick(
        g, count, g.uniform(0, 1, count), 0.0, 1.0, threshold, np.nextafter(np.float32(threshold), 0), 1e-30
    )
    viewmats = np.tile(np.eye(4), (cameras, 1, 1))
    viewmats[1:, :3] += 0.3 * g.normal(size=(cameras - 1, 3, 4))
    intrinsics = np.tile(np.eye(3), (cameras, 1, 1))
    intrinsics[:, (0, 1), (0, 1)], intrinsics[:, :2, 2] = focal, center
    mode = str(g.choice(RENDER_MODES))
    channels = int(g.choice([1, 3, 3, 5]))
    colors = g.uniform(0, 1, (count, channels) if g.random() < 0.5 else (cameras, count, channels))
    arrays = {"means": points, "quats": quats, "scales": scales, "opacities": opacities, "colors": colors}
    arrays |= {"viewmats": viewmats, "Ks": intrinsics}
    if g.random() < 0.5 and "RGB" in mode:
        arrays["backgrounds"] = g.uniform(0, 1, (cameras, channels))
    dtype = torch.float32 if g.random() < 0.7 else torch.float64
    options = {
        "width": width, "height": height, "render_mode": mode, "near_plane": float(g.choice([0.0, 1e-6, 0.01, NEAR])),
        "far_plane": float(g.choice([2.0, 1e10, 1e10, 1e10])), "eps2d": float(g.choice([0.0, 0.3, 3.0])),
        "rasterize_mode": str(g.choice(["classic", "antialiased"])), "max_alpha": float(g.choice([0.99, 0.999])),
        "min_compensation": float(g.choice([0.0, 0.005])),
    }  # fmt: skip
    return {name: torch.from_numpy(np.asarray(array)).to(dtype) for name, array in arrays.items()}, options


def check(seed: int) -> None:
    """Assert the laws for one scene."""
    scene, options = wild_scene(seed)
    leaves = {name: tensor.requires_grad_(name != "Ks") for name, tensor in scene.items()}
    image, alpha, meta = rasterization(**leaves, **options)
    assert bool(image.isfinite().all()), "picture"
    assert float(alpha.detach().min()) >= 0, "alpha"
    assert float(alpha.detach().max()) <= 1, "alpha"
    generator = torch.Generator().manual_seed(seed)
    weights = [torch.randn(output.shape, generator=generator).to(output) for output in (image, alpha)]
    ((image * weights[0]).sum() + (alpha * weights[1]).sum()).backward()
    culled = ~(meta["radii"] > 0).any(dim=-1).any(dim=0)
    for name, leaf in leaves.items():
        if leaf.grad is None:
            continue
        assert bool(leaf.grad.isfinite().all()), f"gradient of {name}"
        if name in ("means", "quats", "scales", "opacities", "colors"):
            rows = leaf.grad if leaf.grad.shape[0] == culled.numel() and leaf.grad.ndim < 3 else None
            of_culled = leaf.grad[:, culled] if rows is None and leaf.grad.ndim == 3 else leaf.grad[culled]
            assert not bool(of_culled.any()), f"gradient of culled {name}"


def check_all(seeds: range, monkeypatch: pytest.MonkeyPatch) -> None:
    guarded = GuardedNumpy()
    monkeypatch.setattr(cpu_pipeline, "np", guarded)
    for seed in seeds:
        try:
            check(seed)
            guarded.assert_intact()
        except AssertionError as error:
            raise AssertionError(f"scene {seed}: {error}") from error


def test_a_guard_notices_a_write_beside_an_array() -> None:
    guarded = GuardedNumpy()
    array = guarded.empty((2, 3), np.float32)
    array[:] = 0
    guarded.assert_intact()
    array = guarded.empty((2, 3), np.float32)
    np.lib.stride_tricks.as_strided(array, (3, 3))[2, 0] = 1
    with pytest.raises(AssertionError):
        guarded.assert_intact()


def test_wild_scenes_stay_finite_and_inside(monkeypatch: pytest.MonkeyPatch) -> None:
    check_all(range(QUICK), monkeypatch)


@pytest.mark.slow
def test_ten_thousand_wild_scenes_stay_finite_and_inside(monkeypatch: pytest.MonkeyPatch) -> None:
    check_all(range(FULL), monkeypatch)
