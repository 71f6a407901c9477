"""Cameras between the given ones, from which the object should look no larger than the given pictures ask for."""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import normalize

from gslrm.cameras import Cameras
from gslrm.data.transforms import crop, turn_pose
from gslrm.reconstruct import WHITE
from gslrm.refine.target import MARGIN, Target
from gslrm.render import Rasterizer
from gslrm.types import Gaussians

NEAREST = 2  # cameras beside each on a ring
ROOM = 0.2  # of the way between two cameras that is left free at either end, where pictures say enough
WANDER = 0.3  # standard deviation of a direction's turn off that way, in radians: rings see little of above and below
COARSER = 2.0  # size of a pixel in those of the given pictures: a quarter of the cost
OUTLIERS = 0.01  # share on either side of an axis for which no picture is made larger
SATURATION = 3  # power with which what is nearly opaque is spared: thinning it would show what lies behind


class Between:
    """The area of Gaussians at cameras drawn at random between those of the targets.

    Silhouettes leave open what lies between them, and the largest object that they allow, the visual hull, is what a
    fit begins with. The mean area of a convex body's silhouettes is a quarter of its surface (Cauchy), so that a weight
    on this area asks for the least surface that explains the pictures: a round back in place of the hull's edges.
    """

    def __init__(self, targets: Sequence[Target], shown: Float[Tensor, "n 3"]) -> None:
        """`shown` are points that the cameras show, one at least: the Gaussians' centres before any step."""
        points = shown.double().cpu()
        low = points.quantile(OUTLIERS, dim=0, interpolation="lower")
        high = points.quantile(1 - OUTLIERS, dim=0, interpolation="higher")
        self.points = points[((points >= low) & (points <= high)).all(dim=1)]
        self.middle = points.median(dim=0).values
        self.poses = torch.cat([target.view.cameras.world_from_camera for target in targets]).double().cpu()
        self.pixel = COARSER * sum(target.pixel for target in targets) / len(targets)
        self.ratio = sum(target.ratio for target in targets) / len(targets) / COARSER
        self.box = sum(target.view.masks.numel() for target in targets) / len(targets) / COARSER**2
        self.generator = torch.Generator().manual_seed(0)

    def area(self, gaussians: Gaussians, rasterizer: Rasterizer) -> Float[Tensor, ""]:
        """Area of the Gaussians `[N]` at the next camera, as a share of the mean target.

        Coverage `a` counts as `(1 - (1 - a)^SATURATION) / SATURATION`: as itself where it is faint, and where it is
        nearly full, more of it hardly counts.
        """
        device = gaussians.means.device
        camera = self.camera()[None].to(device)
        drawn = rasterizer(gaussians[None], camera[None], WHITE[None].to(device), resolution_ratio=self.ratio)
        counted = (1 - (1 - drawn.alpha) ** SATURATION) / SATURATION
        return counted.sum() / self.box

    def camera(self) -> Cameras:
        """The next camera, in float32, cut to the points that it shows."""
        pose = turn_pose(self._moved(), self.middle)
        focal = float((pose[:3, 3] - self.middle).norm()) / self.pixel
        ones = torch.ones(2, dtype=torch.float64)
        camera = Cameras(pose, focal * ones, 0 * ones, 1, 1)
        pixel, _ = camera.project(self.points)
        left, top = (pixel.amin(dim=0).floor() - MARGIN).tolist()
        right, bottom = (pixel.amax(dim=0).ceil() + MARGIN).tolist()
        camera = crop(camera, left=left, top=top, width=int(right - left), height=int(bottom - top))
        return camera.float()

    def _moved(self) -> Float[Tensor, "4 4"]:
        """The pose of one of the cameras, moved towards a neighbour and off that way."""
        away = self.poses[:, :3, 3] - self.middle
        distance, direction = away.norm(dim=1), normalize(away, dim=1)
        one = self._draw(len(away))
        alike = direction @ direction[one]
        alike[one] = -torch.inf
        near = alike.topk(min(NEAREST, len(away) - 1)).indices
        other = int(near[self._draw(len(near))])
        share = ROOM + (1 - 2 * ROOM) * float(torch.rand((), generator=self.generator))
        turned = normalize(torch.lerp(direction[one], direction[other], share), dim=0)
        wander = WANDER * torch.randn(3, generator=self.generator, dtype=torch.float64)
        reach = torch.lerp(distance[one], distance[other], share)
        pose = self.poses[one].clone()
        pose[:3, 3] = self.middle + reach * normalize(turned + wander, dim=0)
        return pose

    def _draw(self, count: int) -> int:
        return int(torch.randint(count, (), generator=self.generator))
