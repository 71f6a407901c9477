"""The files of one reconstructed sample: Gaussians, pictures at its cameras, a turntable, an overview, figures.

Everything that the rasterizer draws is drawn first; what remains to be encoded, scored and written needs it no more, so
that another thread may do that while the next sample is reconstructed.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import cache, partial
from pathlib import Path

import numpy as np

from gslrm.cameras import Cameras
from gslrm.data.placed_sample import load_targets, mask_policy
from gslrm.evaluation.scoring import score_sample
from gslrm.evaluation.summary import summarise
from gslrm.export import (
    FORMATS,
    depth_scale,
    write_depth,
    write_gaussians,
    write_json,
    write_picture,
    write_ply,
    write_png,
)
from gslrm.mesh import extract_mesh, write_glb
from gslrm.reconstruct import WHITE, Reconstruction, Reconstructor
from gslrm.render import build_rasterizer
from gslrm.tensor_struct import concatenate
from gslrm.training.turntable import draw_turntable, write_turntable
from gslrm.types import Rendering
from gslrm.visualize import depth_alpha_grid, gaussian_slices, overview

SURFACE = 0.5  # coverage from which a pixel has a depth
SCORES = "scores"  # the writer that compares pictures
Write = Callable[[Path], None]
"""Writes some files of one sample into its folder."""


def write_outputs(
    folder: Path,
    reconstructor: Reconstructor,
    reconstruction: Reconstruction,
    wanted: Sequence[int] | None,
    *,
    video: bool,
) -> None:
    """Write everything of one sample; `wanted` are the cameras to render at, none for all.

    Raises:
        UserError: the sample has no such view, or one of its images is missing or damaged.
    """
    for write in draw_outputs(reconstructor, reconstruction, wanted, video=video).values():
        write(folder)


def draw_outputs(
    reconstructor: Reconstructor, reconstruction: Reconstruction, wanted: Sequence[int] | None, *, video: bool
) -> dict[str, Write]:
    """Draw everything of one sample; the writers that are returned, by name, may be called in another thread.

    Raises:
        UserError: the sample has no such view. The writers raise it where images to compare with are damaged, or where
            files cannot be written.
    """
    sample = reconstruction.placed.sample
    views = tuple(range(len(sample.views))) if wanted is None else tuple(wanted)
    rendered = {view.index: reconstructor.render(reconstruction, view.camera) for view in sample.select(views)}
    writers: dict[str, Write] = {"gaussians": _gaussians(reconstructor, reconstruction)}
    if video:
        drawn = draw_turntable(reconstructor, reconstruction)
        writers["turntable"] = partial(write_turntable, turntable=drawn)
    if views:
        crops = render_crops(reconstructor, reconstruction, views)
        writers["renders"] = partial(_write_renders, rendered=rendered)
        writers["overviews"] = partial(_write_overviews, reconstructor, reconstruction, crops=crops, views=views)
        writers[SCORES] = partial(_write_scores, reconstructor, reconstruction, rendered=rendered)
    return writers


def _gaussians(reconstructor: Reconstructor, reconstruction: Reconstruction) -> Write:
    """Writes the Gaussians in the sample's world, in every format asked for, and their surface."""
    options = reconstructor.config.inference
    gaussians = reconstruction.in_source().to("cpu")
    drawn = gaussians[gaussians.opacities >= options.min_opacity]
    mesh = None
    if options.mesh:
        rasterizer = build_rasterizer("cpu", reconstructor.config.render, device="cpu")
        mesh = extract_mesh(drawn, rasterizer, resolution=options.mesh_resolution)

    def write(folder: Path) -> None:
        write_ply(gaussians, folder / "gaussians.ply", options.min_opacity)
        write_picture(folder / "gaussians.png", gaussian_slices(gaussians))
        for name in options.formats:
            write_gaussians(drawn, folder / f"gaussians{FORMATS[name].suffix}", name)
        if mesh is not None:
            write_glb(mesh, folder / "mesh.glb")

    return write


def _write_overviews(
    reconstructor: Reconstructor,
    reconstruction: Reconstruction,
    folder: Path,
    *,
    crops: Rendering,
    views: Sequence[int],
) -> None:
    names, given = _names(reconstruction, views), _given(reconstruction, views)
    write_picture(folder / "depth_alpha.png", depth_alpha_grid(crops, views, names=names, is_input=given))
    seen = _pictured(reconstruction, views)
    if seen:
        seen_crops = crops[[views.index(view) for view in seen]]
        write_picture(folder / "overview.png", overview_picture(reconstructor, reconstruction, seen, seen_crops))


def _write_scores(
    reconstructor: Reconstructor, reconstruction: Reconstruction, folder: Path, *, rendered: Mapping[int, Rendering]
) -> None:
    """Compare what was rendered with the images that there are."""
    truth = cache(partial(reconstructor.truth, reconstruction.placed))
    scores = [
        score
        for view in _pictured(reconstruction, list(rendered))
        for score in score_sample(
            reconstructor, reconstruction, (view,), baselines={}, truth=truth, painter=partial(_drawn, rendered[view])
        )
    ]
    if scores:
        content = {"summary": summarise(scores), "views": {score.view: score.model for score in scores}}
        write_json(folder / "metrics.json", content)


def _drawn(rendering: Rendering, camera: Cameras) -> Rendering:
    return rendering


def _pictured(reconstruction: Reconstruction, views: Sequence[int]) -> list[int]:
    """The views that have an image."""
    return [view.index for view in reconstruction.placed.sample.select(tuple(views)) if view.image_path.is_file()]


def render_crops(reconstructor: Reconstructor, reconstruction: Reconstruction, views: Sequence[int]) -> Rendering:
    """Pictures [v, ...] at the object-centred crops of the sample's cameras, depth in the sample's units."""
    placed = reconstruction.placed
    cameras = [placed.placement.crop_camera(view.camera) for view in placed.sample.select(tuple(views))]
    return concatenate([reconstructor.render(reconstruction, camera) for camera in cameras])


def overview_picture(
    reconstructor: Reconstructor, reconstruction: Reconstruction, seen: Sequence[int], crops: Rendering
) -> np.ndarray:
    """GT | render | error at the object-centred crops; `crops` are the renderings of the views `seen`."""
    policy = mask_policy(reconstructor.dataset, reconstructor.config.mouse)
    truth = load_targets(reconstruction.placed, tuple(seen), policy, WHITE)
    names, given = _names(reconstruction, seen), _given(reconstruction, seen)
    return overview(truth, crops, names, given, view_index=seen)


def _names(reconstruction: Reconstruction, views: Sequence[int]) -> list[str]:
    return [reconstruction.placed.sample.views[index].name for index in views]


def _given(reconstruction: Reconstruction, views: Sequence[int]) -> list[bool]:
    return [index in reconstruction.placed.input_index for index in views]


def _write_renders(folder: Path, *, rendered: Mapping[int, Rendering]) -> None:
    folder = folder / "renders"
    scale = depth_scale(max(float(rendering.depth.max()) for rendering in rendered.values()))
    for view, rendering in rendered.items():
        name = f"cam_{view:03d}.png"
        write_png(folder / name, rendering.rgb[0])
        write_png(folder / "alpha" / name, rendering.alpha[0])
        covered = rendering.alpha[0] >= SURFACE  # thin haze has a depth too, but nobody means it
        write_depth(folder / "depth" / name, rendering.depth[0] * covered, scale)
    meaning = "z along the optical axis = pixel value / depth_scale; 0 where alpha is below 0.5"
    write_json(folder / "depth" / "scale.json", {"depth_scale": scale, "meaning": meaning})
