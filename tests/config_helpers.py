"""Configuration files that tests write, and what is said about them."""

from pathlib import Path

import pytest

from gslrm.config_io import load_config
from gslrm.errors import UserError


def write(name: str, text: str) -> str:
    """A file in the working directory."""
    path = Path(name)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return name


def refusal(text: str, overrides: tuple[str, ...] = ()) -> str:
    """What a user is told of a configuration that is refused."""
    with pytest.raises(UserError) as caught:
        load_config(write("x.yaml", text), overrides)
    return str(caught.value)
