"""What is asked of every sample, with all that its output depends on."""

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from gslrm.clean import Filter
from gslrm.inference.recording import SharedPlacements
from gslrm.model.adapter import fingerprint
from gslrm.reconstruct import Reconstructor

READING = {"num_input_views", "remove_alpha", "normalize_distance_to"}  # keys of the data set that inference reads
ELSEWHERE = {"inference": {"enabled", "output_dir"}, "render": {"backend", "deferred_backward"}}  # change no output


@dataclass(frozen=True)
class Task:
    """The options of one run that are not in the configuration."""

    input_views: str | None = None
    """As a user writes them; none means as in training."""
    render_views: tuple[int, ...] | None = None
    """Cameras to render at; none means all."""
    video: bool = True
    refine: int = 0
    """Gradient steps on each sample's Gaussians."""
    filters: tuple[Filter, ...] = ()
    """Those of `inference.clean`."""
    shared: SharedPlacements | None = None
    """How the samples are placed as frames of one recording; none places each by itself."""


def describe_settings(reconstructor: Reconstructor, task: Task) -> dict[str, Any]:
    """Everything that the output of a sample depends on beside the sample, as JSON holds it."""
    config = reconstructor.config
    content = {
        "weights": fingerprint(reconstructor.model.state_dict()),
        "precision": str(reconstructor.runtime.amp_dtype or "float32").removeprefix("torch."),
        "dataset": config.training.dataset.model_dump(mode="json", include=READING),
        "options": {
            "input_views": task.input_views,
            "render_views": task.render_views,
            "video": task.video,
            "refine": task.refine,
        },
    }
    if task.shared is not None:  # left out where it is not asked for: earlier folders stay valid
        content["smooth_placement"] = {"reach": task.shared.reach, "frames": task.shared.frames}
    for section in ("model", "mouse", "inference", "render"):
        content[section] = getattr(config, section).model_dump(mode="json", exclude=ELSEWHERE.get(section))
    described: dict[str, Any] = json.loads(json.dumps(content))
    return described


def changes(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """What differs between two descriptions, key by key."""
    old, new = dict(_leaves(before)), dict(_leaves(now))
    keys = [key for key in {**new, **old} if old.get(key) != new.get(key)]
    return [f"{key} was {_short(old.get(key))}, now {_short(new.get(key))}" for key in keys]


def digest(settings: Mapping[str, Any]) -> str:
    """A description as one word."""
    return hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()


def _leaves(mapping: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in mapping.items():
        if isinstance(value, Mapping):
            yield from _leaves(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def _short(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 24 else f"{text[:12]}..."
