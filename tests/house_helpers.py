"""What the rules of the house are read from: sources and the schema."""

import ast
from collections.abc import Iterator
from pathlib import Path

from gslrm.config import Config, Section

ROOT = Path(__file__).parents[1]
PACKAGE = sorted((ROOT / "gslrm").rglob("*.py"))


def module_name(path: Path) -> str:
    """`render.cpu_backend` for gslrm/render/cpu_backend.py, `render` for its package."""
    parts = path.relative_to(ROOT / "gslrm").with_suffix("").parts
    return ".".join(parts[:-1] if len(parts) > 1 and parts[-1] == "__init__" else parts)


def parse(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), filename=str(path))


def schema_keys(section: type[Section] = Config, prefix: str = "") -> Iterator[tuple[str, list[object]]]:
    for name, field in section.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, Section):
            yield from schema_keys(field.annotation, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", field.metadata
