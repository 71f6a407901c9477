"""Laws of the CPU rasterizer: it agrees with recorded gsplat results and with its torch twin, and is reproducible."""

import subprocess
import sys

import numba
import numpy as np
import pytest
import torch
from raster_fixtures import NAMES, NEARLY_ZERO, load_fixture
from reference_rasterizer import random_scene, rasterize_view
from torch import Tensor

from gslrm.render import cpu_pipeline
from gslrm.render.cpu_backend import rasterization
from gslrm.render.cpu_lanes import exp2_negative

INPUTS = ("means", "quats", "scales", "opacities", "colors")
WIDTH, HEIGHT = 56, 40
# Largest absolute error of outputs, and of gradients relative to the largest entry (float32: measured, with margin).
TOLERANCES = {
    torch.float64: {"rgb": 1e-11, "alpha": 1e-11, "depth_D": 1e-11, "depth_ED": 1e-11, "gradient": 1e-11},
    torch.float32: {"rgb": 1e-5, "alpha": 1e-5, "depth_D": 3e-5, "depth_ED": 2e-4, "gradient": 1e-3},
}


def render(scene: dict[str, Tensor], **options) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
    return rasterization(**{"width": WIDTH, "height": HEIGHT, **scene, **options})


def gradients(scene: dict[str, Tensor], **options) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
    """Image, alpha and the gradients of a fixed random functional of both."""
    leaves = {name: tensor.clone().requires_grad_(name != "Ks") for name, tensor in scene.items()}
    image, alpha, _ = render(leaves, **options)
    generator = torch.Generator().manual_seed(1)
    weights = [torch.randn(output.shape, generator=generator, dtype=output.dtype) for output in (image, alpha)]
    ((image * weights[0]).sum() + (alpha * weights[1]).sum()).backward()
    return image.detach(), alpha.detach(), {name: leaf.grad for name, leaf in leaves.items()}


def assert_relative(actual: Tensor, expected: Tensor, tolerance: float, name: str) -> None:
    scale = max(float(expected.abs().max()), 1e-9)
    assert float((actual - expected).abs().max()) <= tolerance * scale, name


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=["float64", "float32"])
@pytest.mark.parametrize("name", NAMES)
def test_recorded_outputs_stages_and_gradients_are_reproduced(name: str, dtype: torch.dtype) -> None:
    fixture, tolerances = load_fixture(name, dtype), TOLERANCES[dtype]
    image, alpha, meta = rasterization(**fixture.arguments, render_mode="RGB+ED")
    fixture.loss(image, alpha).backward()
    depth, _, _ = rasterization(**fixture.arguments, render_mode="D")

    outputs = {"rgb": image[..., :3], "alpha": alpha, "depth_D": depth, "depth_ED": image[..., 3:]}
    for key, output in outputs.items():
        np.testing.assert_allclose(output.detach(), fixture.recorded[key], rtol=0, atol=tolerances[key], err_msg=key)
    np.testing.assert_array_equal(meta["radii"], fixture.recorded["radii"])
    for key in ("means2d", "conics", "depths"):
        expected = torch.from_numpy(fixture.recorded[key])
        assert_relative(meta[key], expected, 1e-6 if dtype == torch.float32 else 1e-12, key)
    for key, leaf in fixture.inputs.items():
        expected = torch.from_numpy(fixture.recorded[f"g_{key}"])
        if float(expected.abs().max()) < NEARLY_ZERO:
            assert float(leaf.grad.abs().max()) < 1e-4, key
        else:
            assert_relative(leaf.grad, expected, tolerances["gradient"], key)


@pytest.mark.parametrize("name", NAMES)
def test_the_twin_reproduces_the_recorded_outputs_and_gradients(name: str) -> None:
    fixture = load_fixture(name, torch.float64)
    per_camera = {"viewmats": "viewmat", "Ks": "intrinsics", "backgrounds": "background"}
    arguments = {key: value for key, value in fixture.arguments.items() if key not in per_camera}
    arguments["antialiased"] = arguments.pop("rasterize_mode") == "antialiased"
    views = []
    for c in range(fixture.arguments["viewmats"].shape[0]):
        colors = arguments["colors"] if arguments["colors"].ndim == 2 else arguments["colors"][c]
        of_camera = {new: fixture.arguments[old][c] for old, new in per_camera.items() if old in fixture.arguments}
        views.append(rasterize_view(**{**arguments, "colors": colors}, **of_camera))
    rgb, alpha, depth = (torch.stack(outputs) for outputs in zip(*views, strict=True))
    expected_depth = depth / alpha.clamp_min(1e-10)
    fixture.loss(torch.cat([rgb, expected_depth], dim=-1), alpha).backward()
    outputs = {"rgb": rgb, "alpha": alpha, "depth_D": depth, "depth_ED": expected_depth}
    for key, output in outputs.items():
        np.testing.assert_allclose(output.detach(), fixture.recorded[key], rtol=0, atol=1e-11, err_msg=key)
    for key, leaf in fixture.inputs.items():
        assert_relative(leaf.grad, torch.from_numpy(fixture.recorded[f"g_{key}"]), 1e-11, key)


@pytest.mark.parametrize("mode", ["classic", "antialiased"])
def test_gradients_are_those_of_finite_differences(mode: str) -> None:
    scene = random_scene(count=6, cameras=2, seed=21)
    scene["backgrounds"] = torch.tensor([[0.2, 0.5, 0.9], [1.0, 0.0, 0.4]], dtype=torch.float64)
    scene["Ks"] = scene["Ks"] * torch.tensor([[[0.2], [0.2], [1.0]]], dtype=torch.float64)
    names = [name for name in scene if name != "Ks"]
    leaves = [scene[name].clone().requires_grad_() for name in names]

    def outputs(*values: Tensor) -> tuple[Tensor, Tensor]:
        options = {"width": 11, "height": 8, "rasterize_mode": mode, "render_mode": "RGB+ED"}
        return render({**scene, **dict(zip(names, values, strict=True))}, **options)[:2]

    assert torch.autograd.gradcheck(outputs, leaves, eps=1e-6, atol=1e-6, rtol=1e-5, nondet_tol=0.0)


@pytest.mark.parametrize("mode", ["classic", "antialiased"])
def test_values_and_gradients_equal_those_of_the_twin(mode: str) -> None:
    scene = random_scene(count=120, cameras=2, seed=0)
    scene["backgrounds"] = torch.tensor([[0.2, 0.5, 0.9], [1.0, 0.0, 0.4]], dtype=torch.float64)
    leaves = {name: tensor.clone().requires_grad_(name != "Ks") for name, tensor in scene.items()}
    views = [
        rasterize_view(
            *(leaves[name] for name in INPUTS), leaves["viewmats"][c], leaves["Ks"][c], WIDTH, HEIGHT,
            background=leaves["backgrounds"][c], antialiased=mode == "antialiased",
        )
        for c in range(2)
    ]  # fmt: skip
    rgb, alpha, depth = (torch.stack(outputs) for outputs in zip(*views, strict=True))
    image = torch.cat([rgb, depth], dim=-1)
    generator = torch.Generator().manual_seed(1)
    weights = [torch.randn(output.shape, generator=generator, dtype=output.dtype) for output in (image, alpha)]
    ((image * weights[0]).sum() + (alpha * weights[1]).sum()).backward()

    actual_image, actual_alpha, actual = gradients(scene, render_mode="RGB+D", rasterize_mode=mode)
    torch.testing.assert_close(actual_image, image.detach(), rtol=0, atol=1e-11)
    torch.testing.assert_close(actual_alpha, alpha.detach(), rtol=0, atol=1e-11)
    for name, leaf in leaves.items():
        if name != "Ks":
            assert_relative(actual[name], leaf.grad, 1e-10, name)


def test_channels_are_blended_independently() -> None:
    scene = random_scene(count=80, cameras=2, seed=1)
    scene["colors"] = torch.rand(2, 80, 6, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    image, _, together = gradients(scene, render_mode="RGB+D")
    halves = [gradients({**scene, "colors": scene["colors"][..., part]}) for part in (slice(0, 3), slice(3, 6))]
    depth, _, _ = render(scene, render_mode="D")
    torch.testing.assert_close(image, torch.cat([halves[0][0], halves[1][0], depth], dim=-1), rtol=0, atol=1e-13)
    assert together["colors"].shape == (2, 80, 6)


def test_expected_depth_is_accumulated_depth_over_alpha() -> None:
    scene = random_scene(count=80, cameras=2, seed=3)
    accumulated, alpha, _ = render(scene, render_mode="D")
    expected, _, _ = render(scene, render_mode="ED")
    both, _, _ = render(scene, render_mode="RGB+ED")
    torch.testing.assert_close(expected, accumulated / alpha.clamp_min(1e-10))
    torch.testing.assert_close(both[..., 3:], expected)


def test_the_background_shows_through_what_alpha_leaves() -> None:
    scene = random_scene(count=60, cameras=2, seed=4)
    backgrounds = torch.tensor([[0.1, 0.6, 0.3], [0.9, 0.2, 0.7]], dtype=torch.float64)
    black, alpha, _ = render(scene)
    colored, same_alpha, _ = render(scene, backgrounds=backgrounds)
    torch.testing.assert_close(colored, black + (1 - alpha) * backgrounds[:, None, None])
    assert torch.equal(alpha, same_alpha)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=["float64", "float32"])
def test_results_do_not_depend_on_the_number_of_threads(dtype: torch.dtype) -> None:
    scene = random_scene(count=700, cameras=3, seed=5, dtype=dtype)
    available = numba.get_num_threads()
    runs = []
    try:
        for threads in (1, min(2, available), available):
            numba.set_num_threads(threads)
            image, alpha, grads = gradients(scene, render_mode="RGB+ED", width=100, height=70)
            runs.append([image, alpha, *(gradient for gradient in grads.values() if gradient is not None)])
    finally:
        numba.set_num_threads(available)
    for run in runs[1:]:
        assert all(torch.equal(a, b) for a, b in zip(runs[0], run, strict=True))


def test_the_image_does_not_depend_on_where_tiles_begin() -> None:
    scene = random_scene(count=100, cameras=1, seed=6)
    scene["means"] *= 0.3  # inside the image, where Jacobians do not depend on its size
    small, _, _ = render(scene)
    moved = scene["Ks"].clone()
    moved[:, :2, 2] += torch.tensor([37.0, 19.0], dtype=torch.float64)
    large, _, _ = render({**scene, "Ks": moved}, width=WIDTH + 80, height=HEIGHT + 50)
    torch.testing.assert_close(large[:, 19 : 19 + HEIGHT, 37 : 37 + WIDTH], small, rtol=0, atol=1e-12)


def test_the_order_of_the_gaussians_does_not_matter() -> None:
    scene = random_scene(count=150, cameras=2, seed=7)
    order = torch.randperm(150, generator=torch.Generator().manual_seed(0))
    shuffled = {name: tensor[order] if tensor.shape[0] == 150 else tensor for name, tensor in scene.items()}
    image, _, grads = gradients(scene)
    shuffled_image, _, shuffled_grads = gradients(shuffled)
    assert torch.equal(image, shuffled_image)
    for name in INPUTS:
        torch.testing.assert_close(grads[name][order], shuffled_grads[name], rtol=1e-12, atol=1e-12)


def test_equal_depths_blend_in_index_order() -> None:
    scene = random_scene(count=2, cameras=1, seed=8)
    scene["means"] = torch.zeros(2, 3, dtype=torch.float64)
    scene["quats"], scene["scales"] = scene["quats"][:1].repeat(2, 1), torch.full((2, 3), 0.3, dtype=torch.float64)
    scene["opacities"] = torch.full((2,), 0.9, dtype=torch.float64)
    scene["colors"] = torch.tensor([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]], dtype=torch.float64)
    image, _, _ = render(scene)
    assert float(image[0, 20, 27, 0]) > 5 * float(image[0, 20, 27, 1]) > 0


def test_only_the_direction_of_a_quaternion_matters() -> None:
    scene = random_scene(count=60, cameras=1, seed=9)
    image, _, grads = gradients(scene)
    scaled, _, scaled_grads = gradients({**scene, "quats": -250 * scene["quats"]})
    torch.testing.assert_close(scaled, image, rtol=0, atol=1e-12)
    torch.testing.assert_close(-250 * scaled_grads["quats"], grads["quats"], rtol=1e-8, atol=1e-12)


def test_invisible_gaussians_change_nothing_and_get_zero_gradients() -> None:
    scene = random_scene(count=40, cameras=1, seed=10)
    hidden = random_scene(count=5, cameras=1, seed=11)
    hidden["means"][0], hidden["opacities"][1], hidden["quats"][2] = torch.tensor([0.0, 0.0, -9.0]), 0.003, 0.0
    hidden["means"][3], hidden["means"][4] = torch.tensor([90.0, 0.0, 0.0]), torch.tensor([0.0, 0.0, -3.0])
    both = {name: torch.cat([scene[name], hidden[name]]) for name in INPUTS}
    image, _, _ = gradients(scene)
    same, _, grads = gradients({**both, "viewmats": scene["viewmats"], "Ks": scene["Ks"]})
    assert torch.equal(image, same)
    for name in INPUTS:
        assert torch.equal(grads[name][40:], torch.zeros_like(grads[name][40:])), name
        assert bool(torch.isfinite(grads[name]).all()), name


def test_an_empty_scene_renders_the_background() -> None:
    scene = random_scene(count=0, cameras=2, seed=0)
    backgrounds = torch.full((2, 3), 0.25, dtype=torch.float64)
    image, alpha, _ = render(scene, backgrounds=backgrounds)
    assert torch.equal(image, torch.full_like(image, 0.25))
    assert not bool(alpha.any())


def test_strided_inputs_give_the_same_result() -> None:
    scene = random_scene(count=50, cameras=2, seed=12)
    strided = {name: torch.stack([tensor, tensor], dim=-1)[..., 0] for name, tensor in scene.items()}
    assert not strided["means"].is_contiguous()
    image, _, grads = gradients(scene)
    same, _, same_grads = gradients(strided)
    assert torch.equal(image, same)
    assert torch.equal(grads["means"], same_grads["means"])


def test_only_inputs_that_ask_for_gradients_get_them() -> None:
    scene = random_scene(count=30, cameras=1, seed=13)
    scene["colors"].requires_grad_()
    image, alpha, meta = render(scene)
    assert not any(tensor.requires_grad for tensor in meta.values())
    (image.sum() + alpha.sum()).backward()
    assert scene["colors"].grad is not None
    assert all(tensor.grad is None for name, tensor in scene.items() if name != "colors")


def test_a_loss_may_use_one_output_alone() -> None:
    scene = random_scene(count=30, cameras=1, seed=13)
    scene["opacities"].requires_grad_()
    image, alpha, _ = render(scene)
    of_image, of_alpha, of_both = (
        torch.autograd.grad(loss, scene["opacities"], retain_graph=True)[0]
        for loss in (image.sum(), alpha.sum(), image.sum() + alpha.sum())
    )
    torch.testing.assert_close(of_image + of_alpha, of_both)


def test_gradients_do_not_depend_on_how_many_cameras_fit_in_the_buffer(monkeypatch: pytest.MonkeyPatch) -> None:
    scene = random_scene(count=200, cameras=3, seed=16)
    _, _, together = gradients(scene)
    monkeypatch.setattr(cpu_pipeline, "GRADIENT_BUFFER_BYTES", 1)
    _, _, one_by_one = gradients(scene)
    for name in (*INPUTS, "viewmats"):
        torch.testing.assert_close(one_by_one[name], together[name], rtol=1e-10, atol=1e-10)


def test_second_derivatives_are_refused() -> None:
    scene = random_scene(count=10, cameras=1, seed=14)
    scene["means"].requires_grad_()
    image, _, _ = render(scene)
    (gradient,) = torch.autograd.grad(image.square().sum(), scene["means"], create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        gradient.sum().backward()


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("opacities", lambda t: t + 1, "opacities must lie in .0, 1.; 20 of 20"),
        ("opacities", lambda t: t * float("nan"), "opacities must lie in"),
        ("means", lambda t: t.index_fill(0, torch.tensor([3]), float("inf")), "means has 3 non-finite"),
        ("quats", lambda t: t * float("nan"), "quats has 80 non-finite"),
        ("scales", lambda t: t[:, :2], r"scales must have shape \[20, 3\]"),
        ("colors", lambda t: t.float(), "colors is torch.float32"),
        ("Ks", lambda t: t + torch.tensor([[0.0, 0.1, 0.0]] * 3, dtype=torch.float64), "skew"),
    ],
)
def test_unusable_inputs_are_refused_by_name(name: str, change, message: str) -> None:
    scene = random_scene(count=20, cameras=1, seed=15)
    with pytest.raises(ValueError, match=message):
        render({**scene, name: change(scene[name])})


def test_unknown_modes_are_refused_with_the_valid_ones() -> None:
    with pytest.raises(ValueError, match=r"RGB\+ED"):
        render(random_scene(count=1, cameras=1, seed=0), render_mode="depth")


def test_the_single_precision_exponential_is_within_one_ulp() -> None:
    evaluate = numba.vectorize(["float32(float32)"])(lambda q: exp2_negative(q))
    q = np.linspace(0, 8, 100_001, dtype=np.float32)
    exact = np.exp2(-q.astype(np.float64))
    assert float(np.abs(evaluate(q) / exact - 1).max()) < np.finfo(np.float32).eps


def test_importing_the_backend_compiles_nothing() -> None:
    code = "from gslrm.render import cpu_backend, cpu_blending as b; raise SystemExit(len(b.blend.signatures))"
    assert subprocess.run([sys.executable, "-c", code], check=False, timeout=120).returncode == 0
