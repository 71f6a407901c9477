"""What the causes of a disagreement are called, said and cured with."""

from collections.abc import Mapping
from typing import Literal, get_args

Cause = Literal[
    "invented_intrinsics",
    "boxes_centred",
    "equal_areas",
    "masses_centred",
    "pictures_moved",
    "equal_distances",
    "moved_radially",
    "order",
    "inverted",
    "transposed",
    "opengl",
    "inverted_opengl",
    "mirrored",
    "resized",
    "unit",
    "turned",
    "alone",
    "unknown",
]
CAUSES: tuple[Cause, ...] = get_args(Cause)

FOLLOW = "let the intrinsics follow every crop, shift and resize of their picture, or leave the pictures as they are"

SENTENCES: Mapping[Cause, str] = {
    "invented_intrinsics": "all views claim fx = fy = {focal:.4g} and a centre at {center:.4g}, and no such cameras "
    "can have taken these pictures: the intrinsics were invented (such as after a central crop); compute them from the "
    "calibration and " + FOLLOW,
    "boxes_centred": "every view's bounding box was moved to the middle of its picture, but the intrinsics are those "
    "of the pictures before that; " + FOLLOW,
    "equal_areas": "every view was scaled by its own factor until all masks have the same area, and shifted, but the "
    "intrinsics are those of the pictures before that; " + FOLLOW,
    "masses_centred": "every view was shifted until its centre of mass lies in the middle of its picture, but the "
    "intrinsics are those of the pictures before that; " + FOLLOW,
    "pictures_moved": "every view's picture was shifted or scaled by its own amount, or its intrinsics are wrong by as "
    "much; " + FOLLOW,
    "equal_distances": "every camera was moved to the same distance ({distance:.4g}) from the world origin, although "
    "the silhouettes need different distances; scale the whole world by one factor instead",
    "moved_radially": "every camera was moved towards or away from the world origin by its own factor; scale the whole "
    "world by one factor instead",
    "order": "views and cameras are in different order: the silhouettes agree when {pairs} is read; reorder the frames "
    "of the camera file",
    "inverted": "w2c holds camera-to-world matrices; invert them",
    "transposed": "the rotations in w2c are transposed (as MATLAB and row vectors have them); transpose them back",
    "opengl": "the cameras have OpenGL axes (y up, looking along -z); negate the second and third row of w2c",
    "inverted_opengl": "w2c holds camera-to-world matrices with OpenGL axes (NeRF, Blender); negate their second and "
    "third column, then invert them",
    "mirrored": "the pictures are mirrored left to right; a mirrored picture belongs to no camera: undo the flip",
    "resized": "the intrinsics are those of pictures of {size}, but the pictures are {stored}; scale fx, cx by the "
    "ratio of the widths and fy, cy by that of the heights",
    "unit": "the positions of {views} are in another unit than those of the other cameras (as {units}); write all in "
    "one unit",
    "turned": "{view} disagrees with all others, which agree among themselves when it is turned by "
    "{degrees:.2g} degrees: it was bumped, or its principal point is wrong; calibrate it again or leave it out",
    "alone": "{views}: nothing that is wrong with all cameras explains it; look at this view's calibration, at its "
    "mask, and whether its picture is of the same moment",
    "unknown": "no single known cause explains it; check by hand that the pictures are of one moment, that calibration "
    "and pictures belong together, and that nobody cropped, scaled, mirrored or reordered either alone",
}


def sentence(cause: Cause, values: Mapping[str, object]) -> str:
    """What is wrong and what cures it; lists among the values are joined with commas."""
    words = {key: ", ".join(map(str, value)) if isinstance(value, list) else value for key, value in values.items()}
    return SENTENCES[cause].format(**words)
