"""The files of one reconstructed sample: Gaussians, pictures at its cameras, a turntable, an overview, figures."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from gslrm.cameras import Cameras
from gslrm.config import InferenceConfig
from gslrm.data.placed_sample import load_targets, mask_policy
from gslrm.evaluation.scoring import score_sample
from gslrm.evaluation.summary import summarise
from gslrm.export import (
    FORMATS,
    as_uint8,
    depth_scale,
    write_depth,
    write_gaussians,
    write_json,
    write_picture,
    write_ply,
    write_png,
    write_video,
)
from gslrm.mesh import extract_mesh, write_glb
from gslrm.reconstruct import WHITE, Reconstruction, Reconstructor
from gslrm.render import build_rasterizer
from gslrm.tensor_struct import concatenate
from gslrm.types import Rendering
from gslrm.visualize import KeptFrames, depth_alpha_grid, gaussian_slices, overview

TURNTABLE_FIELD_OF_VIEW = 35.0  # degrees; the crop's own is about 25, so a turning tail stays inside
TURNTABLE_MARGIN = 1.15
SURFACE = 0.5  # coverage from which a pixel has a depth


@dataclass(frozen=True)
class _RenderedView:
    index: int
    rendering: Rendering


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
    sample = reconstruction.placed.sample
    views = tuple(range(len(sample.views))) if wanted is None else tuple(wanted)
    selected = sample.select(views)
    _write_gaussians(folder, reconstructor, reconstruction)
    rendered = [_RenderedView(view.index, reconstructor.render(reconstruction, view.camera)) for view in selected]
    _write_renders(folder / "renders", rendered)
    write_picture(folder / "gaussians.png", gaussian_slices(reconstruction.in_source()))
    if video:
        count = reconstructor.config.inference.turntable_frames
        frames = KeptFrames(turntable(reconstructor, reconstruction), count)
        write_video(folder / "turntable.mp4", frames)
        write_picture(folder / "turntable.png", frames.sheet())
    if not selected:
        return
    crops = render_crops(reconstructor, reconstruction, views)
    names, given = _names(reconstruction, views), _given(reconstruction, views)
    write_picture(folder / "depth_alpha.png", depth_alpha_grid(crops, views, names=names, is_input=given))
    seen = tuple(view.index for view in selected if view.image_path.is_file())
    if seen:
        scores = list(score_sample(reconstructor, reconstruction, seen))
        write_json(folder / "metrics.json", {"summary": summarise(scores), "views": {s.view: s.model for s in scores}})
        seen_crops = crops[[views.index(view) for view in seen]]
        write_picture(folder / "overview.png", overview_picture(reconstructor, reconstruction, seen, seen_crops))


def _write_gaussians(folder: Path, reconstructor: Reconstructor, reconstruction: Reconstruction) -> None:
    """The Gaussians in the sample's world, in every format asked for, and their surface."""
    options = reconstructor.config.inference
    gaussians = reconstruction.in_source()
    write_ply(gaussians, folder / "gaussians.ply", options.min_opacity)
    drawn = gaussians[gaussians.opacities >= options.min_opacity].to("cpu")
    for name in options.formats:
        write_gaussians(drawn, folder / f"gaussians{FORMATS[name].suffix}", name)
    if options.mesh:
        rasterizer = build_rasterizer("cpu", reconstructor.config.render, device="cpu")
        write_glb(extract_mesh(drawn, rasterizer, resolution=options.mesh_resolution), folder / "mesh.glb")


def turntable(reconstructor: Reconstructor, reconstruction: Reconstruction) -> Iterator[np.ndarray]:
    """Frames of one turn about the object, in equal angular steps with z up; the last step leads back to the first."""
    placement = reconstruction.placed.placement
    source_from_world = placement.world_from_source.inverse()
    cameras = turntable_cameras(reconstructor.config.inference, placement.world_footprint)
    for number in range(reconstructor.config.inference.turntable_frames):
        rendering = reconstructor.render(reconstruction, cameras[number].transform(source_from_world))
        yield as_uint8(rendering.rgb[0])


def turntable_cameras(options: InferenceConfig, footprint: float) -> Cameras:
    """One camera per frame [n] that shows a little more than `footprint` world units at the origin."""
    radius = TURNTABLE_MARGIN * footprint / 2 / np.tan(np.radians(TURNTABLE_FIELD_OF_VIEW / 2))
    return Cameras.orbit(
        options.turntable_frames,
        radius=float(radius),
        elevation=options.turntable_elevation,
        field_of_view=TURNTABLE_FIELD_OF_VIEW,
        size=options.turntable_size,
        dtype=torch.float64,
    )


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


def _write_renders(folder: Path, rendered: Sequence[_RenderedView]) -> None:
    if not rendered:
        return
    scale = depth_scale(max(float(view.rendering.depth.max()) for view in rendered))
    for view in rendered:
        name = f"cam_{view.index:03d}.png"
        write_png(folder / name, view.rendering.rgb[0])
        write_png(folder / "alpha" / name, view.rendering.alpha[0])
        covered = view.rendering.alpha[0] >= SURFACE  # thin haze has a depth too, but nobody means it
        write_depth(folder / "depth" / name, view.rendering.depth[0] * covered, scale)
    meaning = "z along the optical axis = pixel value / depth_scale; 0 where alpha is below 0.5"
    write_json(folder / "depth" / "scale.json", {"depth_scale": scale, "meaning": meaning})
