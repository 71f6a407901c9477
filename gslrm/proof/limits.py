"""Which figures a sample must keep to; pixels are those of a picture 512 wide, and grow with the pictures."""

from dataclasses import dataclass

REFERENCE_WIDTH = 512


@dataclass(frozen=True)
class Limits:
    """Defaults were measured on exact masks, and on masks with ragged edges (IoU 0.95) and cut tails."""

    tangent: float = 3.0
    """Median error in px of the tangent planes that pairs of views share; right cameras give 0.1 with exact masks, up
    to 2 with ragged ones. A sample fails where this and `hull` are both exceeded."""
    hull: float = 1.5
    """Mean miss in px of outline rays past the other silhouettes, bodies only; right cameras give 0.02, ragged masks
    0.1, masks with cut tails up to 1."""
    swing: float = 0.8
    """Error in px of one camera against all others, with exact masks; of 888 right cameras four had 0.4 to 0.5."""
    swing_noise: float = 2.5
    """The same as a multiple of the median tangent error among the other cameras, which is the masks' noise; the larger
    of the two limits counts."""
    keypoint: float = 6.0
    """Median reprojection error in px of triangulated keypoints, per view."""
    mask_tolerance: float = 4.0
    """From how many px on outline counts for `lacking` and `excess`."""
    lacking: float = 0.5
    """Largest share of the other views' outline that this view's mask alone denies; a missing tail makes up to 0.35."""
    excess: float = 0.6
    """Largest share of a view's outline that at least two other views deny; two missing tails make up to 0.4."""
    mask_warning: float = 0.05
    """From this `lacking` or `excess` on, a mask is mentioned."""
    smallest_share: float = 0.002
    """Least share of the picture that is foreground."""
    largest_share: float = 0.6
    """Greatest share of the picture that is foreground."""
    clipped: float = 0.15
    """Greatest share of a view's outline on the picture's border."""
    sharpness: float = 0.15
    """Least rms Laplacian over rms gradient in 1/px: blur wider than about 9 px."""
    saturated: float = 0.5
    """Greatest share of foreground pixels at the upper end of a channel."""
    exposure: float = 4.0
    """Greatest ratio between a camera's brightness inside the mask and the median camera's."""
    empty_views: int = 0
    """How many views may show no animal."""
