"""Names by shell-style patterns."""

import difflib
from collections.abc import Iterable, Sequence
from fnmatch import fnmatchcase

from gslrm.errors import UserError


def select(patterns: Iterable[str], names: Sequence[str], *, key: str, kind: str = "parameter") -> set[str]:
    """Names that match any pattern: `*` is any text, dots too, `?` one character, `[0-9]` one of a range.

    Raises:
        UserError: a pattern matches nothing; the message names the configuration's `key` and what comes near.
    """
    selected: set[str] = set()
    for pattern in patterns:
        found = {name for name in names if fnmatchcase(name, pattern)}
        if not found:
            raise UserError(f"{key}: {pattern!r} matches no {kind}; {_hint(pattern, names)}")
        selected |= found
    return selected


def _hint(pattern: str, names: Sequence[str]) -> str:
    parts = [name.split(".") for name in names]
    parents = {".".join([*part[:length], "*"]) for part in parts for length in range(1, len(part))}
    endings = {".".join(["*", *part[length:]]) for part in parts for length in range(1, len(part))}
    near = difflib.get_close_matches(pattern, [*sorted(parents | endings), *names], n=3)
    if near:
        return f"did you mean {' or '.join(map(repr, near))}?"
    tops = sorted({name.partition(".")[0] for name in names})
    return f"names begin with {', '.join(tops)}"
