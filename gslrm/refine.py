"""Per-scene refinement: gradient steps on the Gaussians of one sample against its own input views.

It sharpens what the network predicted. Views it was fitted to always improve, so only held-out cameras tell whether it
helped; a few tens of steps did in our measurements (docs/benchmarks.md).
"""

from dataclasses import replace

import torch

from gslrm.reconstruct import WHITE, Reconstruction, Reconstructor
from gslrm.unbounded import bounded, unbounded

MIN_OPACITY = 0.005  # fainter Gaussians change no pixel by more than one grey level, nor do their gradients
RATES = {"means": 5e-4, "scales": 1e-2, "rotations": 5e-3, "opacities": 5e-2, "harmonics": 2e-2}
SILHOUETTE_WEIGHT = 1.0


def refine(reconstructor: Reconstructor, reconstruction: Reconstruction, steps: int) -> Reconstruction:
    """The reconstruction after `steps` steps of Adam at the input views, in the network's world and at its pixels.

    Means, log-scales, quaternions, opacity logits and colours are free; their number is not changed.
    """
    device = reconstructor.runtime.device
    target = reconstruction.placed.input[None].to(device)
    kept = reconstruction.gaussians.opacities > MIN_OPACITY
    raw = unbounded(reconstruction.gaussians[kept])
    optimizer = torch.optim.Adam([{"params": [raw[name]], "lr": rate} for name, rate in RATES.items()])
    for _ in range(steps):
        rendering = reconstructor.rasterizer(bounded(raw)[None], target.cameras, WHITE[None].to(device))
        colour = (rendering.rgb - target.images).square().mean()
        silhouette = (rendering.alpha - target.masks).square().mean()
        optimizer.zero_grad(set_to_none=True)
        (colour + SILHOUETTE_WEIGHT * silhouette).backward()
        optimizer.step()
    return replace(reconstruction, gaussians=bounded(raw).detach())
