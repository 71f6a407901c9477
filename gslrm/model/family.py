"""What network a state dict belongs to, from its key names and shapes."""

import math
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from gslrm.config.lgm import PRESETS, LgmShape
from gslrm.errors import UserError
from gslrm.model.gaussian_head import channel_count
from gslrm.model.weights import IGNORED_PREFIXES

CURE = "name its configuration with --config"
MAX_DEGREE = 3
HEAD = 64  # width of the published attention heads; no shape shows it
LGM_CHANNELS = 9
Shapes = Mapping[str, tuple[int, ...]]


@dataclass(frozen=True)
class Architecture:
    """A family of networks, and what shapes show of its `model:` section."""

    family: str
    model: Mapping[str, Any]


def recognise(weights: Mapping[str, Tensor], *, name: str) -> Architecture:
    """The architecture of weights that carry no configuration; `name` begins messages.

    Raises:
        UserError: they are of no known family, or of shapes that none of its networks has.
    """
    shapes = {key: tuple(value.shape) for key, value in weights.items() if not key.startswith(IGNORED_PREFIXES)}
    for mark, (family, read) in FAMILIES.items():
        if mark not in shapes:
            continue
        try:
            return Architecture(family, read(shapes))
        except (KeyError, ValueError) as error:
            reason = f"{error.args[0]} is missing" if isinstance(error, KeyError) else error
            raise UserError(f"{name}: carries no configuration, has {mark}, but {reason}; {CURE}") from error
    known = " or ".join(f"{family} ({mark})" for mark, (family, _) in FAMILIES.items())
    first = ", ".join(list(shapes)[:3]) or "nothing"
    raise UserError(
        f"{name}: carries no configuration and holds weights of no known family ({first}, ...); expected those of "
        f"{known}"
    )


def gslrm_settings(shapes: Shapes) -> dict[str, Any]:
    """The `model:` settings of GS-LRM weights, as published with FaceLift.

    Raises:
        KeyError: a tensor is missing.
        ValueError: shapes do not belong together, or are those of another input than published.
    """
    width, inputs = shapes["patch_embedder.1.weight"]
    per_gaussian = shapes["gaussian_upsampler.linear.weight"][0]
    degree = next((d for d in range(MAX_DEGREE + 1) if channel_count(d) == per_gaussian), None)
    if degree is None:
        raise ValueError(f"{per_gaussian} channels per Gaussian are those of no degree of harmonics up to {MAX_DEGREE}")
    pixels, rest = divmod(shapes["pixel_gaussian_decoder.1.weight"][0], per_gaussian)
    patch = math.isqrt(pixels)
    if rest or patch**2 != pixels:
        raise ValueError("its pixel decoder makes no square patch of Gaussians")
    channels, rest = divmod(inputs, patch**2)
    if rest or channels not in (9, 12):
        raise ValueError(f"its input has {inputs / patch**2:g} channels, the published networks have 9 or 12")
    if width % HEAD:
        raise ValueError(f"its width {width} is not that of whole attention heads of {HEAD}, as published ones are")
    return {
        "image_tokenizer": {"patch_size": patch, "in_channels": channels},
        "transformer": {"d": width, "d_head": HEAD, "n_layer": _levels(shapes, r"transformer_layers\.(\d+)\.")},
        "gaussians": {"n_gaussians": shapes["gaussian_position_embeddings"][0], "sh_degree": degree},
        "add_refsrc_marker": "view_type_embeddings" in shapes,
        "use_custom_plucker": channels == 9,
        "use_aug_plucker": channels == 12,
    }


def lgm_settings(shapes: Shapes) -> dict[str, Any]:
    """The `model:` settings of LGM weights.

    Raises:
        KeyError: a tensor is missing.
        ValueError: the input is not the published one.
    """
    given = shapes["unet.conv_in.weight"][1]
    if given != LGM_CHANNELS:
        raise ValueError(f"its input has {given} channels, the published networks have {LGM_CHANNELS}")
    counts = {way: _levels(shapes, rf"unet\.{way}_blocks\.(\d+)\.") for way in ("down", "up")}
    widths = {
        way: tuple(shapes[f"unet.{way}_blocks.{level}.nets.0.conv1.weight"][0] for level in range(count))
        for way, count in counts.items()
    }
    attention = {
        way: tuple(f"unet.{way}_blocks.{level}.attns.0.attn.qkv.weight" in shapes for level in range(count))
        for way, count in counts.items()
    }
    shape = LgmShape(widths["down"], attention["down"], widths["up"], attention["up"])
    preset = next((name for name, known in PRESETS.items() if known == shape), None)
    names = ("down_channels", "down_attention", "up_channels", "up_attention")
    single = {name: list(getattr(shape, name)) for name in names}
    return {"family": "lgm", "lgm": single if preset is None else {"preset": preset}}


def _levels(shapes: Iterable[str], pattern: str) -> int:
    return len({match[1] for match in map(re.compile(pattern).match, shapes) if match})


FAMILIES: dict[str, tuple[str, Callable[[Shapes], dict[str, Any]]]] = {
    "patch_embedder.1.weight": ("gslrm", gslrm_settings),
    "unet.conv_in.weight": ("lgm", lgm_settings),
}
