"""Pictures and a page of one sample's cameras, as stored and as the network sees them."""

import io
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from gslrm import html_page
from gslrm.cameras import nearest_to_lines
from gslrm.config import Config
from gslrm.data.masks import read_view
from gslrm.data.placed_sample import PlacedSample, load_targets, mask_policy, place_sample
from gslrm.data.sample import CAMERA_FILE, Sample
from gslrm.data.sightings import find_object, sight
from gslrm.data.transforms import outside_share
from gslrm.errors import UserError
from gslrm.export import as_uint8, replacing, write_picture
from gslrm.model.gaussian_head import embed_rays
from gslrm.reconstruct import choose_inputs
from gslrm.rig_page import rig_page
from gslrm.types import Views
from gslrm.visualize.rays import ray_sheet
from gslrm.visualize.rig import RigView, rig_sheet

THUMBNAIL = 160  # pixels
JPEG_QUALITY = 80
WHITE = torch.ones(3)


def write_camera_report(sample: Sample, config: Config, folder: Path) -> str | None:
    """Write cameras.png, rays.png and cameras.html; returns why the sample cannot be placed, if it cannot.

    Raises:
        UserError: an image or mask is missing or damaged, or there are too few views.
    """
    inputs = choose_inputs(config, sample)
    policy = mask_policy(config.training.dataset, config.mouse)
    stored = [read_view(view, policy) for view in sample.views]
    rigs = [_stored_rig(sample, stored, inputs)]
    thumbnails = [[_jpeg(_on_white(picture)) for picture in stored]]
    parts: list[str] = []
    problem = None
    try:
        placed = place_sample(
            sample,
            inputs,
            dataset=config.training.dataset,
            mouse=config.mouse,
            size=config.model.image_tokenizer.image_size,
            background=WHITE,
        )
    except UserError as error:
        problem = str(error)
        parts.append(html_page.verdict(f"cannot be normalised: {problem}", "bad"))
    else:
        crops = load_targets(placed, tuple(range(len(sample.views))), policy, WHITE)
        rigs.append(_placed_rig(placed, rigs[0]))
        thumbnails.append([_jpeg(as_uint8(image)) for image in crops.images])
        parts.append(_words(placed, rigs[0]))
        write_picture(folder / "rays.png", _rays(crops, config, rigs[0].names))
    write_picture(folder / "cameras.png", rig_sheet(rigs))
    text = rig_page(f"Cameras of {sample.name}", rigs, thumbnails, parts=parts)
    with replacing(folder / "cameras.html") as temporary:
        temporary.write_text(text, encoding="utf-8")
    return problem


def _stored_rig(sample: Sample, stored: list[np.ndarray], inputs: tuple[int, ...]) -> RigView:
    """The rig as the camera file has it; the object is where the input masks meet, else where the axes do."""
    cameras = [view.camera for view in sample.views]
    diameter = None
    try:
        found = find_object([sight(stored[index][..., 3], cameras[index]) for index in inputs])
        center, diameter = found.center, found.diameter
    except UserError:
        center = _where_axes_meet(sample)
    return RigView(
        title="as stored",
        unit="source units",
        cameras=tuple(cameras),
        names=tuple(f"{view.index} {view.name}" for view in sample.views),
        is_input=tuple(view.index in inputs for view in sample.views),
        center=center,
        diameter=diameter,
    )


def _where_axes_meet(sample: Sample) -> torch.Tensor:
    pose = torch.stack([view.camera.world_from_camera for view in sample.views])
    try:
        return nearest_to_lines(pose[:, :3, 3], pose[:, :3, 2])
    except ValueError as error:
        raise UserError(f"{sample.directory / CAMERA_FILE}: {error}, and no masks show an object to look at") from error


def _placed_rig(placed: PlacedSample, stored: RigView) -> RigView:
    world_from_source = placed.placement.world_from_source
    diameter = None if stored.diameter is None else stored.diameter * float(world_from_source.scale)
    return RigView(
        title="as the network sees it",
        unit="world units",
        cameras=tuple(placed.placement.network_camera(camera) for camera in stored.cameras),
        names=stored.names,
        is_input=stored.is_input,
        center=world_from_source.apply(stored.center),
        diameter=diameter,
    )


def _words(placed: PlacedSample, stored: RigView) -> html_page.Html:
    placement = placed.placement
    shares = [outside_share(camera, placement.crop_camera(camera)) for camera in stored.cameras]
    masks = placed.input.masks
    lines = [
        f"One similarity places the whole rig: scale {float(placement.world_from_source.scale):.6g}, "
        f"origin at {[round(v, 3) for v in placement.center.tolist()]} of the sample's world.",
        f"Crops of {placement.size} px cover {placement.world_footprint:.3f} world units at the origin.",
        f"The object covers {100 * float((masks > 0.5).float().mean()):.1f} % of the input crops.",
        f"{100 * sum(shares) / len(shares):.0f} % of the crops lie outside the stored pictures "
        f"(most: {stored.names[shares.index(max(shares))]}, {100 * max(shares):.0f} %) and count as background.",
    ]
    return html_page.bullets(lines)


def _rays(crops: Views, config: Config, names: tuple[str, ...]) -> np.ndarray:
    return ray_sheet(crops.images, embed_rays(crops.cameras[None], config.model)[0], ray_channels(config), names)


def ray_channels(config: Config) -> list[str]:
    """Names of the channels of `embed_rays`, in its order."""
    direction, nearest, moment = "direction", "nearest\npoint", "moment"
    if config.model.use_custom_plucker:
        parts = [direction, nearest]
    else:
        parts = [moment, direction, nearest] if config.model.use_aug_plucker else [moment, direction]
    return [f"{part} {axis}" for part in parts for axis in "xyz"]


def _on_white(premultiplied: np.ndarray) -> np.ndarray:
    colour = premultiplied[..., :3] + 1 - premultiplied[..., 3:]
    return (255 * colour.clip(0, 1)).round().astype(np.uint8)


def _jpeg(picture: np.ndarray) -> bytes:
    image = Image.fromarray(picture)
    image.thumbnail((THUMBNAIL, THUMBNAIL))
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=JPEG_QUALITY)
    return buffer.getvalue()
