"""LGM's multi-view U-Net."""

from dataclasses import dataclass
from typing import Literal

from pydantic import model_validator

from gslrm.config.section import Count, Positive, Section

GROUPS = 32  # of every group norm, so every width is a multiple of it


@dataclass(frozen=True)
class LgmShape:
    """Widths of the U-Net, and where views attend to one another; finest level first on the way down."""

    down_channels: tuple[int, ...]
    down_attention: tuple[bool, ...]
    up_channels: tuple[int, ...]
    up_attention: tuple[bool, ...]

    @property
    def side_multiple(self) -> int:
        """Image sides are multiples of this, so that every halving is whole."""
        return int(2 ** (len(self.down_channels) - 1))

    @property
    def reduction(self) -> int:
        """Pixels of an image per Gaussian and axis."""
        return int(2 ** (len(self.down_channels) - len(self.up_channels)))

    @property
    def attention_reduction(self) -> int:
        """Pixels of an image per token and axis, where most tokens attend to one another."""
        coarsest = len(self.down_channels) - 1
        levels = [level for level, attends in enumerate(self.down_attention) if attends]
        levels += [coarsest - level for level, attends in enumerate(self.up_attention) if attends]
        return int(2 ** min([coarsest, *levels]))  # the middle always does


DEEP, DEEP_ATTENTION = (64, 128, 256, 512, 1024, 1024), (False, False, False, True, True, True)
SMALL = LgmShape(DEEP, DEEP_ATTENTION, (1024, 1024, 512, 256), (True, True, True, False))
PRESETS = {
    "big": LgmShape(DEEP, DEEP_ATTENTION, (1024, 1024, 512, 256, 128), (True, True, True, False, False)),
    "small": SMALL,
    "lrm": SMALL,  # differs from `small` in its training only
    "tiny": LgmShape(
        (32, 64, 128, 256, 512), (False, False, False, False, True), (512, 256, 128), (True, False, False)
    ),
}


class LgmStartConfig(Section):
    anchor: Literal["none", "ray", "hull"] = "none"
    """Where the Gaussians of an untrained network are: anywhere, as the published weights know it; on their pixels'
    rays, where these are nearest the world's origin, or where they first meet the visual hull of the other masks. With
    `ray` and `hull` raw maps are departures from there, and pixels without foreground have no Gaussian."""
    scale: Positive = 0.6
    """Standard deviation at which such Gaussians start, in pixels of the maps of Gaussians at the object."""
    opacity: float = 0.85
    """Opacity logit at which they start; 0.85 is 0.70."""
    reach: Positive = 0.1
    """Canonical units by which a raw 1 moves them. A pixel of a 64 px crop is 0.01: with 1, as where there is no start,
    an early update throws all Gaussians off their pixels."""


class LgmConfig(Section):
    preset: Literal["big", "small", "lrm", "tiny"] = "big"
    """Widths and attention of the original's four networks; all published weights are `big`."""
    down_channels: list[Count] | None = None
    """Widths from the finest level to the coarsest, multiples of 32; none means the preset's."""
    down_attention: list[bool] | None = None
    """Levels on the way down where all pixels of all views attend to one another; none means the preset's."""
    up_channels: list[Count] | None = None
    """Widths on the way up, coarsest first: the first ones of `down_channels` read backwards. With each that is left
    out the maps of Gaussians have half the side. None means the preset's."""
    up_attention: list[bool] | None = None
    """The same as `down_attention` for the way up."""
    legacy_rotation: bool = False
    """Every Gaussian's axes are those of the canonical frame, as the weights `model.safetensors` and
    `model_fp16.safetensors` were trained (before April 2024); `model_fixrot` and `model_fp16_fixrot` have rotations."""
    start: LgmStartConfig = LgmStartConfig()
    """For training from random weights; off for all published ones."""

    @property
    def shape(self) -> LgmShape:
        """The preset's, with what is set by itself."""
        preset = PRESETS[self.preset]
        return LgmShape(
            tuple(preset.down_channels if self.down_channels is None else self.down_channels),
            tuple(preset.down_attention if self.down_attention is None else self.down_attention),
            tuple(preset.up_channels if self.up_channels is None else self.up_channels),
            tuple(preset.up_attention if self.up_attention is None else self.up_attention),
        )

    @model_validator(mode="after")
    def _possible_network(self) -> "LgmConfig":
        shape = self.shape
        for way, channels, attention in (
            ("down", shape.down_channels, shape.down_attention),
            ("up", shape.up_channels, shape.up_attention),
        ):
            if not channels:
                raise ValueError(f"{way}_channels is empty; name one width at least")
            if len(channels) != len(attention):
                raise ValueError(f"{way}_channels has {len(channels)} levels and {way}_attention {len(attention)}")
            if odd := [width for width in channels if width % GROUPS]:
                raise ValueError(f"{way}_channels: {odd[0]} is not a multiple of {GROUPS}")
        expected = tuple(reversed(shape.down_channels))
        if shape.up_channels != expected[: len(shape.up_channels)]:
            raise ValueError(
                f"up_channels {list(shape.up_channels)} are not the first of {list(expected)}, which is down_channels "
                "read backwards"
            )
        return self
