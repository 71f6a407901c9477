"""Gaussians fitted to one sample's given views for some seconds, from its visual hull: 3D without a prior.

Plain 3DGS without densification. It is scored as any method at cameras it was not fitted to.
"""

import time
from collections.abc import Sequence
from dataclasses import replace

import torch

from gslrm.cameras import Cameras
from gslrm.evaluation.baselines import Baseline, Given, Painter
from gslrm.evaluation.hull import Hull
from gslrm.harmonics import degree_0_from_rgb
from gslrm.metrics import has_foreground
from gslrm.metrics.images import crop_box
from gslrm.render import Rasterizer
from gslrm.similarity import Similarity
from gslrm.types import Gaussians, Rendering, Views
from gslrm.unbounded import bounded, unbounded

COUNT = 30_000  # Gaussians at most, evenly taken from the hull's surface
START_OPACITY = 0.8
START_SPREAD = 0.6  # of the distance between neighbouring surface points
RATES = {"means": 5e-4, "scales": 1e-2, "rotations": 5e-3, "opacities": 5e-2, "harmonics": 2e-2}
WHITE = torch.ones(3)


def optimised(rasterizer: Rasterizer, seconds: float, *, device: torch.device) -> Baseline:
    """The baseline that fits Gaussians for `seconds` per sample; it needs a hull to start from."""

    def baseline(given: Given) -> Painter | None:
        hull = Hull.of(given.views)
        if hull is None:
            return None
        unit_from_source = Similarity.about(
            torch.from_numpy(hull.middle), scale=torch.tensor(2 / hull.side).double(), rotation=torch.eye(3).double()
        )
        targets = [_cropped(view, unit_from_source).to(device) for view in given.views if has_foreground(view.masks)]
        gaussians = fit(_start(hull, unit_from_source).to(device), targets, rasterizer, seconds)

        def paint(camera: Cameras) -> Rendering:
            seen = camera.transform(unit_from_source).float().to(device)
            rendering = rasterizer(gaussians[None], seen[None, None], WHITE[None].to(device))[0].to("cpu")
            return replace(rendering, depth=rendering.depth / float(unit_from_source.scale))

        return paint

    return baseline


def fit(start: Gaussians, targets: Sequence[Views], rasterizer: Rasterizer, seconds: float) -> Gaussians:
    """Gradient steps on `start` towards one view [1] after the other, until the time is over.

    The clock starts after the first step, which may have to compile.
    """
    raw = unbounded(start)
    optimizer = torch.optim.Adam([{"params": [raw[name]], "lr": rate} for name, rate in RATES.items()])
    step, end = 0, None
    with torch.inference_mode(False), torch.enable_grad():
        while end is None or time.monotonic() < end:
            target = targets[step % len(targets)]
            white = WHITE[None].to(target.images.device)
            rendering = rasterizer(bounded(raw)[None], target.cameras[None], white)[0]
            colour = (rendering.rgb - target.images).square().mean()
            silhouette = (rendering.alpha - target.masks).square().mean()
            optimizer.zero_grad(set_to_none=True)
            (colour + silhouette).backward()
            optimizer.step()
            step += 1
            end = time.monotonic() + seconds if end is None else end
    return bounded(raw).detach()


def _start(hull: Hull, unit_from_source: Similarity) -> Gaussians:
    points, colours = hull.surface()
    chosen = torch.linspace(0, len(points) - 1, min(COUNT, len(points))).round().long()
    spacing = hull.surface_spacing() * (len(points) / len(chosen)) ** 0.5 * float(unit_from_source.scale)
    count = len(chosen)
    return Gaussians(
        means=unit_from_source.apply(points[chosen]).float(),
        scales=torch.full((count, 3), START_SPREAD * spacing),
        rotations=torch.tensor([1.0, 0.0, 0.0, 0.0]).repeat(count, 1),
        opacities=torch.full((count,), START_OPACITY),
        harmonics=degree_0_from_rgb(colours[chosen].float())[:, None],
    )


def _cropped(view: Views, unit_from_source: Similarity) -> Views:
    """The mask's box of a view, so that no time is spent on paper."""
    rows, columns = crop_box(view.masks[0])
    camera = view.cameras[0].transform(unit_from_source)
    corner = torch.tensor([columns.start, rows.start], dtype=camera.center.dtype)
    size = {"height": rows.stop - rows.start, "width": columns.stop - columns.start}
    cropped = replace(camera, center=camera.center - corner, **size)
    return Views(view.images[..., rows, columns], view.masks[..., rows, columns], cropped[None].float())
