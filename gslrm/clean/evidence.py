"""What filters may know beside the Gaussians themselves."""

from collections.abc import Sequence
from dataclasses import dataclass

from gslrm.cameras import Cameras
from gslrm.render import Rasterizer
from gslrm.types import Views


@dataclass(frozen=True)
class Evidence:
    """Input views with their masks, cameras at which a contribution counts, all in the Gaussians' own world.

    `views` and `cameras` are each [1]; sizes may differ. No view is looked at that the model was not given.
    """

    views: Sequence[Views] = ()
    cameras: Sequence[Cameras] = ()
    rasterizer: Rasterizer | None = None
