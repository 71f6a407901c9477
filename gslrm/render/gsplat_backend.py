"""gsplat's CUDA rasterizer behind the signature of the CPU backend."""

import gsplat
import torch
from torch import Tensor

from gslrm.errors import UserError

MAX_ALPHA = {"1.5": 0.999, "1.6": 0.99}  # compiled into gsplat's kernels, so it cannot be chosen at run time


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
    *,
    max_alpha: float = 0.999,
    **options: object,
) -> tuple[Tensor, Tensor, dict]:
    """As `gslrm.render.cpu_backend.rasterization`, on CUDA tensors, one camera at a time to bound memory.

    Depth comes as gsplat gives it; its background is 0, so only the first three channels of `backgrounds` are filled.

    Raises:
        UserError: this gsplat was compiled with another `max_alpha`.
    """
    version = ".".join(gsplat.__version__.split(".")[:2])
    built = MAX_ALPHA.get(version)
    if built is not None and abs(built - max_alpha) > 1e-6:
        raise UserError(
            f"gsplat {gsplat.__version__} is compiled with max_alpha {built}; set render.max_alpha: {built}"
        )
    backgrounds = options.pop("backgrounds", None)
    pictures = []
    for camera in range(viewmats.shape[0]):
        one = slice(camera, camera + 1)
        pictures.append(
            gsplat.rasterization(
                means,
                quats,
                scales,
                opacities,
                colors[one] if colors.ndim == 3 else colors,
                viewmats[one],
                Ks[one],
                width,
                height,
                backgrounds=backgrounds[one] if isinstance(backgrounds, Tensor) else None,
                **options,
            )
        )
    rendered, alpha, meta = zip(*pictures, strict=True)
    return torch.cat(rendered), torch.cat(alpha), {"cameras": meta}
