"""YAML without its surprises: one reader and one writer that agree on what a plain word means.

`1e-4` is a number, only true and false are booleans (not yes, no, on, off), `010` is ten, dates stay text, and a key
that is given twice is an error with its line. The value types are those of JSON.
"""

import re
from pathlib import Path
from typing import Any

import yaml

from gslrm.errors import UserError

_PREFIX = "tag:yaml.org,2002:"
_PLAIN_WORDS = (  # YAML 1.2's core schema, without octal and hexadecimal numbers; first match wins
    ("bool", r"true|True|TRUE|false|False|FALSE", "tTfF"),
    ("int", r"[-+]?[0-9]{1,18}", "-+0123456789"),
    ("float", r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?", "-+.0123456789"),
    ("float", r"[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)", "-+."),
    ("null", r"~|null|Null|NULL|", ("~", "n", "N", "")),
    ("merge", r"<<", "<"),
)


class _Loader(yaml.SafeLoader):
    yaml_implicit_resolvers: dict[str, list[tuple[str, re.Pattern[str]]]] = {}

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.repeated: list[str] = []


class _Dumper(yaml.SafeDumper):
    yaml_implicit_resolvers: dict[str, list[tuple[str, re.Pattern[str]]]] = {}


def _construct_mapping(loader: _Loader, node: yaml.MappingNode) -> dict[Any, Any]:
    lines: dict[str, int] = {}
    for key in (key for key, _ in node.value if isinstance(key, yaml.ScalarNode)):
        line = key.start_mark.line + 1
        if key.value in lines:
            loader.repeated.append(f"line {line}: key {key.value!r} is given twice, first in line {lines[key.value]}")
        lines.setdefault(key.value, line)
    loader.flatten_mapping(node)
    return loader.construct_mapping(node, deep=True)


for _tag, _pattern, _first in _PLAIN_WORDS:
    for _class in (_Loader, _Dumper):
        _class.add_implicit_resolver(_PREFIX + _tag, re.compile(rf"^(?:{_pattern})$"), list(_first))
_JSON_TAGS = {None, *(_PREFIX + name for name in ("null", "bool", "int", "float", "str", "seq", "map"))}
_Loader.yaml_constructors = {tag: make for tag, make in _Loader.yaml_constructors.items() if tag in _JSON_TAGS}
_Loader.add_constructor(_PREFIX + "map", _construct_mapping)
_Loader.add_constructor(_PREFIX + "int", lambda _, node: int(node.value))


def read_mapping(path: Path, *, problems: list[str]) -> dict[Any, Any]:
    """The keys and values of a YAML file; keys given twice are added to `problems` with their line.

    Raises:
        UserError: the file cannot be read, is not YAML, or holds something else than keys and values.
    """
    if not path.exists():
        raise UserError(f"{path}: no such file")
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError:
        raise UserError(f"{path}: not a text file; a YAML file is needed here") from None
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror}") from None
    content = parse(text, source=str(path), problems=problems)
    if content is None:
        raise UserError(f"{path}: the file holds no keys; write {{}} to ask for all defaults")
    if not isinstance(content, dict):
        raise UserError(f"{path}: line 1: expected keys with values, found {describe(content)}")
    return content


def parse(text: str, *, source: str, problems: list[str]) -> Any:
    """The value that a YAML text stands for; keys given twice are added to `problems`.

    Raises:
        UserError: the text is not YAML; the message names `source`, line and column.
    """
    try:
        loader = _Loader(text)
        content = loader.get_single_data()
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = f"line {mark.line + 1}, column {mark.column + 1}: " if mark else ""
        raise UserError(f"{source}: {place}{error.problem or error.context}") from None
    except yaml.YAMLError as error:
        raise UserError(f"{source}: not YAML: {' '.join(str(error).split())}") from None
    except (ValueError, KeyError) as error:  # an explicit tag that its text denies, as `!!int x`
        raise UserError(f"{source}: a tag does not fit its value: {error}") from None
    except RecursionError:
        raise UserError(f"{source}: not YAML: nested too deeply") from None
    problems += [f"{source}: {repeated}" for repeated in loader.repeated]
    return content


def parse_value(text: str, *, source: str, problems: list[str]) -> Any:
    """One value as a command line gives it: a plain word may hold `#` and `: `; lists and quotes are YAML's.

    Raises:
        UserError: a list, mapping or quoted text is malformed.
    """
    word = text.strip()
    if word[:1] in ("[", "{", '"', "'"):
        return parse(word, source=source, problems=problems)
    loader = _Loader("")
    tag = loader.resolve(yaml.ScalarNode, word, (True, False))
    return word if tag.endswith(":merge") else loader.construct_object(yaml.ScalarNode(tag, word))


def dump(content: dict[str, Any]) -> str:
    """YAML text that `parse` reads back as equal content, in the order of `content`."""
    return yaml.dump(content, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=110)


def describe(value: Any) -> str:
    """What a value is, in a sentence for users."""
    return "a list" if isinstance(value, list) else "keys with values" if isinstance(value, dict) else repr(value)
