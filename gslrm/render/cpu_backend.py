"""Differentiable Gaussian rasterization on the CPU with the semantics of gsplat's `rasterization`."""

from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from gslrm.render.cpu_pipeline import Scene, Settings, Splats, camera_rows, differentiate, feature_count, render

RENDER_MODES = ("RGB", "D", "ED", "RGB+D", "RGB+ED")
RASTERIZE_MODES = ("classic", "antialiased")


def rasterization(
    means: Tensor,
    quats: Tensor,
    scales: Tensor,
    opacities: Tensor,
    colors: Tensor,
    viewmats: Tensor,
    Ks: Tensor,
    width: int,
    height: int,
    near_plane: float = 0.01,
    far_plane: float = 1e10,
    eps2d: float = 0.3,
    backgrounds: Tensor | None = None,
    render_mode: str = "RGB",
    rasterize_mode: str = "classic",
    max_alpha: float = 0.999,
    min_compensation: float = 0.0,
) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
    """Render N Gaussians into C pinhole cameras.

    Follows gsplat 1.5.3 (`classic` and `antialiased`); with max_alpha=0.99 and min_compensation=0.005 it follows 1.6.0.
    The method is elliptical weighted average splatting (Zwicker et al. 2001) as in 3D Gaussian splatting (Kerbl et al.
    2023). Results are bitwise identical for any number of numba threads. float32 or float64, all tensors alike.

    Args:
        means: [N,3], centres in world units.
        quats: [N,4], rotations as (w, x, y, z) of any non-zero norm; a zero quaternion makes its Gaussian invisible.
        scales: [N,3], standard deviations along the rotated axes, world units, linear.
        opacities: [N], in [0, 1].
        colors: D channels per Gaussian, shared [N,D] or per camera [C,N,D]. Unused in modes "D" and "ED".
        viewmats: [C,4,4], camera-from-world transforms, OpenCV axes: +x right, +y down, +z forward.
        Ks: [C,3,3], intrinsics in pixels, without skew; pixel centres lie at half-integers.
        width: image width in pixels.
        height: image height in pixels.
        near_plane: Gaussians whose centre lies nearer along z are culled; at least 0.
        far_plane: Gaussians whose centre lies farther along z are culled.
        eps2d: added to the diagonal of each image covariance, px^2.
        backgrounds: [C,D], colour behind everything; black without.
        render_mode: "RGB", "D" (accumulated z), "ED" (z divided by alpha), "RGB+D" or "RGB+ED" (depth as last channel).
        rasterize_mode: "antialiased" scales opacities by the share of a splat that the eps2d blur leaves.
        max_alpha: upper bound of one Gaussian's alpha.
        min_compensation: lower bound of the antialiasing factor.

    Returns:
        Images [C,H,W,X], where the depth channel has background 0; alphas [C,H,W,1]; and, not differentiable, "radii"
        [C,N,2] in px (0: culled), "means2d" [C,N,2] px, "conics" [C,N,3] (xx, xy, yy of the inverse covariance, px^-2)
        and "depths" [C,N], all 0 where culled. Gradients reach everything but Ks; culled Gaussians get exactly 0.

    Raises:
        ValueError: for shapes or types that do not fit, skewed Ks, opacities outside [0, 1], non-finite means, scales,
            quats, viewmats or Ks, or an unknown mode.

    """
    if render_mode not in RENDER_MODES:
        raise ValueError(f"render_mode is {render_mode!r}; valid: {', '.join(RENDER_MODES)}")
    if rasterize_mode not in RASTERIZE_MODES:
        raise ValueError(f"rasterize_mode is {rasterize_mode!r}; valid: {', '.join(RASTERIZE_MODES)}")
    if width < 1 or height < 1 or not near_plane >= 0:
        raise ValueError(f"need width, height >= 1 and near_plane >= 0, got {width}, {height}, {near_plane}")
    _check_tensors(means, quats, scales, opacities, colors, viewmats, Ks, backgrounds)
    _check_values(means, quats, scales, opacities, viewmats, Ks)
    settings = Settings(
        width=width, height=height, near_plane=_rounded(near_plane), far_plane=_rounded(far_plane),
        eps2d=_rounded(eps2d), max_alpha=_rounded(max_alpha), antialiased=rasterize_mode == "antialiased",
        min_compensation=_rounded(min_compensation), with_colors="RGB" in render_mode, with_depth="D" in render_mode,
        depth_over_alpha="ED" in render_mode,
    )  # fmt: skip
    images, alphas, radii, means2d, conics, depths = _Rasterize.apply(
        means, quats, scales, opacities, colors, viewmats, backgrounds, Ks, settings
    )
    return images, alphas, {"radii": radii, "means2d": means2d, "conics": conics, "depths": depths}


def _rounded(value: float) -> float:
    """Round as gsplat does: it holds its constants in float32, and decisions at the boundary depend on it."""
    return float(np.float32(value))


def _check_tensors(
    means: Tensor, quats: Tensor, scales: Tensor, opacities: Tensor, colors: Tensor, viewmats: Tensor, Ks: Tensor,
    backgrounds: Tensor | None,
) -> None:  # fmt: skip
    if means.dtype not in (torch.float32, torch.float64):
        raise ValueError(f"means must be float32 or float64, got {means.dtype}")
    count, cameras = means.shape[0], viewmats.shape[0]
    if cameras == 0:
        raise ValueError("viewmats holds no camera")
    colors_shape = (count, colors.shape[-1]) if colors.ndim == 2 else (cameras, count, colors.shape[-1])
    expected = {
        "means": (means, (count, 3)),
        "quats": (quats, (count, 4)),
        "scales": (scales, (count, 3)),
        "opacities": (opacities, (count,)),
        "colors": (colors, colors_shape),
        "viewmats": (viewmats, (cameras, 4, 4)),
        "Ks": (Ks, (cameras, 3, 3)),
    }
    if backgrounds is not None:
        expected["backgrounds"] = (backgrounds, (cameras, colors.shape[-1]))
    for name, (tensor, shape) in expected.items():
        if tuple(tensor.shape) != shape:
            raise ValueError(f"{name} must have shape {list(shape)}, got {list(tensor.shape)}")
        if tensor.dtype != means.dtype:
            raise ValueError(f"{name} is {tensor.dtype} but means is {means.dtype}; all tensors must have one type")
        if tensor.device.type != "cpu":
            raise ValueError(f"{name} is on {tensor.device}; this backend takes CPU tensors")


def _check_values(
    means: Tensor, quats: Tensor, scales: Tensor, opacities: Tensor, viewmats: Tensor, Ks: Tensor
) -> None:
    named = {"means": means, "quats": quats, "scales": scales, "viewmats": viewmats, "Ks": Ks}
    for name, tensor in named.items():
        # A finite sum proves finite entries, several times faster than looking at each.
        if not torch.isfinite(tensor.detach().sum()) and (bad := int((~torch.isfinite(tensor)).sum())):
            raise ValueError(f"{name} has {bad} non-finite values of {tensor.numel()}")
    if opacities.numel() and not (opacities.min() >= 0 and opacities.max() <= 1):
        bad = int((~((opacities >= 0) & (opacities <= 1))).sum())
        raise ValueError(f"opacities must lie in [0, 1]; {bad} of {opacities.numel()} do not")
    if Ks[:, 0, 1].any() or Ks[:, 1, 0].any():
        raise ValueError("Ks has skew; only fx, fy, cx and cy are supported")
    if not (Ks[:, (0, 1), (0, 1)] > 0).all():
        raise ValueError("Ks must have positive focal lengths")


def _array(tensor: Tensor) -> np.ndarray:
    return tensor.detach().contiguous().numpy()


def _scene(
    gaussians: tuple[Tensor, ...], colors: Tensor, viewmats: Tensor, backgrounds: Tensor | None, Ks: Tensor,
    settings: Settings,
) -> Scene:  # fmt: skip
    if not settings.with_colors:
        colors = colors.new_empty(1, colors.shape[-2], 0)
    colors = colors[None] if colors.ndim == 2 else colors
    cameras = camera_rows(_array(viewmats), _array(Ks), settings.width, settings.height)
    padded = np.zeros((cameras.shape[0], feature_count(colors.shape[2] + settings.with_depth)), _array(colors).dtype)
    if backgrounds is not None and settings.with_colors:
        padded[:, : colors.shape[2]] = _array(backgrounds)
    means, quats, scales, opacities = (_array(tensor) for tensor in gaussians)
    return Scene(means, quats, scales, opacities, _array(colors), padded, cameras)


class _Rasterize(torch.autograd.Function):
    """Images and alphas of blended colours and depth."""

    @staticmethod
    def forward(
        ctx: Any, means: Tensor, quats: Tensor, scales: Tensor, opacities: Tensor, colors: Tensor, viewmats: Tensor,
        backgrounds: Tensor | None, Ks: Tensor, settings: Settings,
    ) -> tuple[Tensor, ...]:  # fmt: skip
        scene = _scene((means, quats, scales, opacities), colors, viewmats, backgrounds, Ks, settings)
        *arrays, state = render(scene, settings)
        images, alphas, radii, depths = (torch.from_numpy(array) for array in arrays)
        saved = [torch.from_numpy(array) for array in state]
        means2d, conics = saved[0][..., :2], saved[0][..., 2:5]
        ctx.mark_non_differentiable(radii, means2d, conics, depths)
        ctx.set_materialize_grads(False)  # zeros for the outputs above would take 32 bytes per Gaussian and view
        ctx.settings = settings
        inputs = [means, quats, scales, opacities, colors, viewmats, Ks]
        ctx.save_for_backward(*inputs, backgrounds, images, alphas, *saved)
        return images, alphas, radii, means2d, conics, depths

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, v_images: Tensor | None, v_alphas: Tensor | None, *_: Any) -> tuple[Tensor | None, ...]:
        means, quats, scales, opacities, colors, viewmats, Ks, backgrounds, images, alphas, *saved = ctx.saved_tensors
        settings, needs = ctx.settings, ctx.needs_input_grad
        if v_images is None:
            v_images = torch.zeros_like(images)
        if v_alphas is None:
            v_alphas = torch.zeros_like(alphas)
        gradients: list[Tensor | None] = [None] * len(needs)
        if any(needs[:6]):
            scene = _scene((means, quats, scales, opacities), colors, viewmats, backgrounds, Ks, settings)
            state = Splats(*(_array(tensor) for tensor in saved))
            upstream = (_array(v_images), _array(v_alphas))
            arrays = differentiate(scene, state, settings, _array(images), *upstream, with_cameras=needs[5])
            gradients[:6] = [torch.from_numpy(array) for array in arrays]
            gradients[4] = torch.from_numpy(arrays.colors).reshape(colors.shape) if settings.with_colors else None
        if needs[6] and settings.with_colors:
            gradients[6] = ((1 - alphas) * v_images[..., : colors.shape[-1]]).sum(dim=(1, 2))
        return tuple(gradient if needed else None for gradient, needed in zip(gradients, needs, strict=True))
