"""What LGM is given: colours with rays in the frame of the first view.

Tang et al., "LGM: Large Multi-View Gaussian Model for High-Resolution 3D Content Creation" (ECCV 2024).
"""

import torch
from jaxtyping import Float
from torch import Tensor

from gslrm.cameras import OPENCV_FROM_OPENGL, Cameras
from gslrm.similarity import Similarity
from gslrm.tensor_struct import stack
from gslrm.types import Views

RADIUS = 1.5  # distance of the first camera from the origin in the world that the published weights know
IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def canonical_input(views: Views, *, radius: float = RADIUS) -> tuple[Float[Tensor, "b v 9 h w"], Similarity]:
    """The nine channels of the network's input, and the world that their rays are in.

    Channels: RGB normalised as for ImageNet (3), moment origin x direction (3), unit direction (3), for any pinhole
    cameras. The world is the first view's, see `canonical_frame`.

    Args:
        views: images [B, V, 3, H, W] in [0, 1] on white, as the published weights know them; masks are not used.
        radius: distance of the first camera in the canonical world.

    Returns:
        Channels in float32, and `canonical_from_world` [B] in float64.
    """
    images = views.images.float()
    mean, std = (images.new_tensor(values)[:, None, None] for values in (IMAGENET_MEAN, IMAGENET_STD))
    canonical_from_world = canonical_frame(views.cameras, radius=radius)
    maps = ray_maps(in_frame(views.cameras, canonical_from_world)).float()
    return torch.cat([(images - mean) / std, maps], dim=2), canonical_from_world


def canonical_frame(cameras: Cameras, *, radius: float = RADIUS) -> Similarity:
    """`canonical_from_world` of cameras [B, V], one similarity for all cameras of a sample, in float64.

    It brings the first camera to (0, 0, radius) with the canonical axes along its own: x right, y up, looking along
    -z. The scale is the first camera's distance to the world's origin, where the object is: so the object comes to the
    canonical origin if that camera looks at it, and the other cameras keep their distances relative to the first one's.
    """
    pose = cameras.world_from_camera[:, 0].double()
    flip = pose.new_tensor(OPENCV_FROM_OPENGL[:3])
    rotation = (pose[:, :3, :3] * flip).mT
    position = pose[:, :3, 3]
    scale = radius / position.norm(dim=-1)
    first = pose.new_tensor([0.0, 0.0, radius])
    return Similarity(scale, rotation, first - scale[:, None] * (rotation @ position[..., None])[..., 0])


def in_frame(cameras: Cameras, target_from_world: Similarity) -> Cameras:
    """Cameras [B, V] after a similarity [B] of each sample's world, in float64; their images do not change."""
    precise = cameras.to(torch.float64)
    return stack([precise[sample].transform(target_from_world[sample]) for sample in range(len(cameras.focal))])


def ray_maps(cameras: Cameras) -> Float[Tensor, "*batch 6 h w"]:
    """Moment, then direction, of the rays through all pixel centres, in the world of the cameras."""
    origin, direction = cameras.rays()
    return torch.cat([torch.linalg.cross(origin, direction), direction], dim=-1).movedim(-1, -3)
