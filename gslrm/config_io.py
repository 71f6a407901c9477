"""YAML files, their bases and command-line overrides to a checked `Config`.

A file may name a `base: file.yaml` (or a list; relative to the file): mappings merge, scalars and lists replace. All
problems are reported at once; see `config_check`.
"""

import functools
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from gslrm.config import Config
from gslrm.config_check import Key, Setting, Settings, check
from gslrm.errors import UserError
from gslrm.yaml_reader import dump, parse_value, read_mapping

_OVERRIDE = "--set"


def load_config(path: str | Path, overrides: Sequence[str] = ()) -> Config:
    """Read a YAML file with its bases, apply overrides such as `training.optimizer.lr=1e-5`, and check everything.

    Raises:
        UserError: anything is wrong; the message lists all problems.
    """
    problems: list[str] = []
    settings = _read_chain(Path(os.path.normpath(path)), (), problems)
    return _with_overrides(settings, overrides, problems)


def config_from_mapping(mapping: Mapping[str, Any], *, source: str, overrides: Sequence[str] = ()) -> Config:
    """Check a configuration that came as a mapping, such as the one in a checkpoint; `source` names it in messages.

    Raises:
        UserError: anything is wrong; the message lists all problems.
    """
    return _with_overrides(dict(_leaves(mapping, source)), overrides, [])


def save_config(config: Config, path: str | Path) -> None:
    """Write every key with its value, so that loading the file gives an equal configuration."""
    Path(path).write_text(dump(config.model_dump(mode="json")), encoding="utf-8")


def parse_view_list(text: str, *, option: str) -> tuple[int, ...] | None:
    """Views as users write them: `0-5`, `0,2,4`, `0-2,7`, `none` (an empty tuple) or `all` (None).

    Raises:
        UserError: anything else, a view twice, or a range that runs backwards; the message names `option`.
    """
    word = text.strip().lower()
    if word in ("all", "none"):
        return None if word == "all" else ()
    views: list[int] = []
    for part in word.split(","):
        match = re.fullmatch(r"\s*([0-9]{1,4})\s*(?:-\s*([0-9]{1,4})\s*)?", part)
        if match is None:
            raise UserError(f"{option}: {text!r} is no list of views; write 0-5, or 0,2,4, or all, or none")
        first, last = int(match[1]), int(match[2] or match[1])
        if last < first:
            raise UserError(f"{option}: the range {part.strip()} runs backwards; write {last}-{first}")
        views += range(first, last + 1)
    if len(set(views)) < len(views):
        raise UserError(f"{option}: {text!r} names a view twice")
    return tuple(views)


def _with_overrides(settings: Settings, overrides: Sequence[str], problems: list[str]) -> Config:
    for override in overrides:
        _merge(settings, _read_override(override, problems))
    return check(settings, problems)


def _read_chain(path: Path, chain: tuple[Path, ...], problems: list[str]) -> Settings:
    try:
        content = read_mapping(path, problems=problems)
    except UserError as error:
        asked_by = f"{chain[-1]}: base: " if chain else ""
        problems.append(f"{asked_by}{error}")
        return {}
    chain = (*chain, path)
    settings: Settings = {}
    for base in _bases(path, content.pop("base", None), problems):
        if os.path.realpath(base) in map(os.path.realpath, chain):
            problems.append(f"{chain[0]}: base: the files form a cycle: {' -> '.join(map(str, (*chain, base)))}")
        else:
            _merge(settings, _read_chain(base, chain, problems))
    _merge(settings, dict(_leaves(content, str(path))))
    return settings


def _bases(path: Path, value: Any, problems: list[str]) -> list[Path]:
    names = value if isinstance(value, list) else [] if value is None else [value]
    if not all(isinstance(name, str) and name for name in names):
        problems.append(f"{path}: base: should be a file name or a list of file names, not {value!r}")
        return []
    return [Path(os.path.normpath(path.parent / name)) for name in names]


def _read_override(text: str, problems: list[str]) -> Settings:
    name, equals, word = text.partition("=")
    key = tuple(part.strip() for part in name.split("."))
    if not equals or not all(key):
        problems.append(f"{_OVERRIDE} {text!r}: write it as section.key=value, such as training.optimizer.lr=1e-5")
        return {}
    try:
        value = parse_value(word, source=f"{_OVERRIDE} {text!r}", problems=problems)
    except UserError as error:
        problems.append(str(error))
        return {}
    nested = functools.reduce(lambda inner, part: {part: inner}, reversed(key), value)
    return dict(_leaves(nested, _OVERRIDE))


def _leaves(mapping: Mapping[Any, Any], source: str, prefix: Key = ()) -> Iterator[tuple[Key, Setting]]:
    for name, value in mapping.items():
        key = (*prefix, str(name))
        if isinstance(value, Mapping) and value:
            yield from _leaves(value, source, key)
        else:
            yield key, Setting(value, source)


def _merge(settings: Settings, later: Settings) -> None:
    for key, setting in later.items():
        below = [old for old in settings if len(old) > len(key) and old[: len(key)] == key]
        if below and setting.value in (None, {}):
            continue  # an empty section changes nothing
        for old in [*below, *(key[:length] for length in range(1, len(key)))]:
            settings.pop(old, None)
        settings[key] = setting
