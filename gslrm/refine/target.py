"""What refinement compares with: the object's box of a given picture at the picture's own pixels."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from gslrm.data.placement import Placement
from gslrm.data.transforms import crop
from gslrm.metrics import crop_box, has_foreground, mask_iou, psnr
from gslrm.reconstruct import WHITE
from gslrm.render import Rasterizer
from gslrm.types import Gaussians, Rendering, Views

MARGIN = 4  # pixels around the scored box, where a Gaussian that leaves it is still seen


@dataclass(frozen=True)
class Look:
    """How one camera, or the mean of several, sees Gaussians: in dB on the object's box, and in overlap."""

    psnr_crop: float
    iou: float

    def better_than(self, other: "Look") -> bool:
        """Whether colours are nearer and the silhouette is no worse."""
        return self.psnr_crop > other.psnr_crop and self.iou >= other.iou


@dataclass(frozen=True)
class Target:
    """A picture [1] on white, cut to the object, with its camera in the network's world."""

    view: Views
    ratio: float
    """Its pixels per pixel of the network, see `Rasterizer`."""

    @staticmethod
    def of(view: Views, placement: Placement) -> "Target | None":
        """The target in a stored view [1] of the sample's own world; none where it shows no object."""
        if not has_foreground(view.masks).all():
            return None
        height, width = view.masks.shape[-2:]
        rows, columns = crop_box(view.masks[0])
        top, left = max(0, rows.start - MARGIN), max(0, columns.start - MARGIN)
        bottom, right = min(height, rows.stop + MARGIN), min(width, columns.stop + MARGIN)
        camera = placement.to_world(view.cameras[0].to(torch.float64))
        camera = crop(camera, left=float(left), top=float(top), width=right - left, height=bottom - top)
        window = (..., slice(top, bottom), slice(left, right))
        cut = Views(view.images[window].contiguous(), view.masks[window].contiguous(), camera[None].float())
        return Target(cut, placement.resolution_ratio(view.cameras[0]))

    @property
    def pixel(self) -> float:
        """Size of a pixel at the object, in the network's world: its origin is there."""
        camera = self.view.cameras
        return float(camera.position.norm() / camera.focal.mean())

    def render(self, gaussians: Gaussians, rasterizer: Rasterizer) -> Rendering:
        """The Gaussians `[N]` as this picture shows them, [1]."""
        device = gaussians.means.device
        cameras, white = self.view.cameras.to(device), WHITE[None].to(device)
        return rasterizer(gaussians[None], cameras[None], white, resolution_ratio=self.ratio)[0]


@torch.no_grad()
def look(gaussians: Gaussians, targets: Sequence[Target], rasterizer: Rasterizer) -> Look:
    """The mean over targets of how they show the Gaussians `[N]`."""
    quality, overlap = 0.0, 0.0
    for target in targets:
        drawn = target.render(gaussians, rasterizer).to(target.view.images.device)
        quality += float(psnr(drawn.rgb, target.view.images)) / len(targets)
        overlap += float(mask_iou(drawn.alpha, target.view.masks)) / len(targets)
    return Look(quality, overlap)
