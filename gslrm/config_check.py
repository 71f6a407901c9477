"""Settings to a checked `Config`, or to a list of everything that is wrong with them in words.

A problem is told with its dotted key, the file or override that set it, and the nearest valid name.
"""

import difflib
import functools
import logging
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from gslrm.config import Config, Section
from gslrm.errors import UserError
from gslrm.yaml_reader import describe

_logger = logging.getLogger(__name__)

Key = tuple[str, ...]


@dataclass(frozen=True)
class Setting:
    """A value, with the file or override that it comes from."""

    value: Any
    source: str


Settings = dict[Key, Setting]
"""Leaves only, so no key lies below another: merging two files is then nearly an update."""

# Keys of the original's YAML that this schema does not have. They tell nothing that is not said elsewhere ...
_DROPPED_KEYS: dict[Key, str] = {("model", "class_name"): "the architecture is chosen by model.family"}
# ... or ask for something that is not done here.
_REFUSED_KEYS: dict[Key, str] = {
    ("training", "crop_size"): "targets are compared whole; random target crops are not implemented",
    ("evaluation", "half_bbx_size"): "evaluation renders all Gaussians; no crop box is applied",
}


@dataclass(frozen=True)
class _Problem:
    key: Key
    message: str
    named: tuple[Key, ...] = ()  # the keys that a check across keys speaks of


def check(settings: Settings, problems: list[str]) -> Config:
    """The configuration that `settings` ask for, when `problems`, those met while reading them, are none either.

    Raises:
        UserError: the message lists all problems.
    """
    published = {key: settings[key] for key in (*_DROPPED_KEYS, *_REFUSED_KEYS) if key in settings}
    found = list(_published_problems(published))
    config, invalid = _validate({key: setting for key, setting in settings.items() if key not in published})
    found += invalid
    if found:
        found += _hidden_problems(settings, {problem.key for problem in found})
    lines = problems + [_sentence(problem, settings) for problem in found]
    if config is None or lines:
        count = f"{len(lines)} problems in the configuration:\n  " if len(lines) > 1 else ""
        raise UserError(count + "\n  ".join(dict.fromkeys(lines)))
    for notice in notices(config):
        _tell_once(notice)
    return config


def notices(config: Config) -> list[str]:
    """What a user should know about a valid configuration."""
    clipping = (
        "model.clip_xyz is on: pixel Gaussians are clamped to [-1, 1]^3. The published FaceLift weights never ran "
        "with it, although their YAML says true; set it to false to use them as the original does."
    )
    ablation = (
        "mouse.camera_distance is each_ablation: every camera is moved to mouse.target_camera_distance by itself, "
        "which breaks multi-view geometry by many pixels. It is wrong on purpose, to measure the damage; use mean."
    )
    told = {clipping: config.model.clip_xyz, ablation: config.mouse.camera_distance == "each_ablation"}
    return [notice for notice, applies in told.items() if applies]


@functools.cache
def _tell_once(notice: str) -> None:
    _logger.warning(notice)


def _published_problems(published: Settings) -> Iterator[_Problem]:
    for key, setting in published.items():
        if key in _REFUSED_KEYS and setting.value is not None:
            yield _Problem(key, f"refused: {_REFUSED_KEYS[key]}")
        elif key in _DROPPED_KEYS and "gslrm" not in str(setting.value).lower():
            yield _Problem(key, f"refused: {_DROPPED_KEYS[key]}, and {setting.value!r} is not GS-LRM")
        elif key in _DROPPED_KEYS:
            _logger.info("%s: %s is dropped: %s", setting.source, ".".join(key), _DROPPED_KEYS[key])


def _validate(settings: Settings) -> tuple[Config | None, list[_Problem]]:
    nested: dict[str, Any] = {}
    for key, setting in settings.items():
        if setting.value is None and _section(key):
            continue  # a section whose keys are all commented out
        inner = nested
        for name in key[:-1]:
            inner = inner.setdefault(name, {})
        inner[key[-1]] = str(setting.value) if _is_number_for_text(key, setting.value) else setting.value
    try:
        return Config.model_validate(nested, strict=True), []
    except ValidationError as error:
        return None, _problems(error.errors(include_url=False))


def _hidden_problems(settings: Settings, wrong: set[Key]) -> list[_Problem]:
    """What checks across keys say, which do not run beside a wrong key, unless a wrong key may be their cause."""
    rest = {key: setting for key, setting in settings.items() if not any(key[: len(bad)] == bad for bad in wrong)}
    doubtful = wrong | {key[:-1] for key in wrong}
    return [p for p in _validate(rest)[1] if p.named and not doubtful & {key[:-1] for key in p.named}]


def _problems(errors: list[ErrorDetails]) -> list[_Problem]:
    grouped: dict[Key, list[ErrorDetails]] = {}
    for error in errors:
        grouped.setdefault(_schema_key(error), []).append(error)
    return [_problem(key, alternatives) for key, alternatives in grouped.items()]


def _problem(key: Key, alternatives: list[ErrorDetails]) -> _Problem:
    error = alternatives[0]
    if error["type"] == "extra_forbidden":
        return _Problem(key, f"unknown key; {_suggestion(key)}")
    if error["type"] == "value_error":
        message = str(error["ctx"]["error"])
        words = set(re.findall(r"\w+", message))
        named = [leaf for leaf in _schema_keys() if leaf[: len(key)] == key and leaf[-1] in words]
        return _Problem(key, message, tuple(named) if _section(key) else ())
    if _section(key):
        return _Problem(key, f"should be a section with keys below it, not {describe(error['input'])}")
    expected = " or ".join(each["msg"].removeprefix("Input should be ") for each in alternatives)
    if error["type"].startswith("bool"):
        expected = "true or false"
    if error["type"] == "string_type":
        expected = "text (in quotes if need be)"
    return _Problem(key, f"should be {expected}, not {describe(error['input'])}")


def _suggestion(key: Key) -> str:
    elsewhere = [".".join(leaf) for leaf in _schema_keys() if leaf[-1] == key[-1]]
    if elsewhere:
        return f"this key exists at {' and '.join(elsewhere)}"
    section = _section(key[:-1]) or Config
    if near := difflib.get_close_matches(key[-1], section.model_fields, n=1):
        return f"did you mean {near[0]!r}?"
    by_name = {leaf[-1]: ".".join(leaf) for leaf in _schema_keys()}
    if near := difflib.get_close_matches(key[-1], by_name, n=1, cutoff=0.75):
        return f"did you mean {by_name[near[0]]!r}?"
    return f"valid keys here are {', '.join(section.model_fields)}"


def _sentence(problem: _Problem, settings: Settings) -> str:
    key = ".".join(problem.key)
    named = _sources_below(problem.named, settings) or _sources_below((problem.key,), settings)
    return ": ".join(filter(None, [", ".join(named), key, problem.message]))


def _sources_below(keys: tuple[Key, ...], settings: Settings) -> dict[str, None]:
    below = lambda key: any(key[: len(each)] == each for each in keys)  # noqa: E731
    return dict.fromkeys(setting.source for key, setting in settings.items() if below(key))


def _schema_key(error: ErrorDetails) -> Key:
    """The key that an error is about: what follows the last schema key tells the branches of a union apart."""
    location = tuple(map(str, error["loc"]))
    for length in range(len(location)):
        if _section(location[:length]) is None:
            return location[:length]
    return location


def _section(key: Key) -> type[Section] | None:
    section: type[Section] = Config
    for name in key:
        field = section.model_fields.get(name)
        if field is None or not (isinstance(field.annotation, type) and issubclass(field.annotation, Section)):
            return None
        section = field.annotation
    return section


def _is_number_for_text(key: Key, value: Any) -> bool:
    """Whether a whole number stands where text belongs, as in `heldout_views: 5`: it means its own digits."""
    section = _section(key[:-1])
    field = section.model_fields.get(key[-1]) if section else None
    return type(value) is int and field is not None and field.annotation in (str, str | None)


def _schema_keys(section: type[Section] = Config, prefix: Key = ()) -> Iterator[Key]:
    for name in section.model_fields:
        key = (*prefix, name)
        inner = _section(key)
        yield from _schema_keys(inner, key) if inner else [key]
