"""Documents tell the truth: every path, option, key and name that they give exists."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from house_helpers import ROOT, parse, schema_keys

DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
FENCE = re.compile(r"^```[^\n]*\n(.*?)^```", re.MULTILINE | re.DOTALL)
INLINE = re.compile(r"`([^`\n]+)`")
LINK = re.compile(r"\]\(([^)#\s]+)[^)]*\)")
TRACKED_FOLDERS = ("gslrm", "scripts", "configs", "tests", "docs", ".ci")
SOURCE_FILE = re.compile(r"[\w.-]+\.(py|sh|md|toml)")
PLACEHOLDER = re.compile(r"[<>*{}$…]|\bX\b|\bNAME\b")


def code_of(document: Path) -> list[str]:
    """The lines of code blocks, with continued lines joined, and all that stands in backticks."""
    text = document.read_text(encoding="utf-8")
    blocks = "\n".join(FENCE.findall(text)).replace("\\\n", " ")
    return [*blocks.splitlines(), *INLINE.findall(FENCE.sub("", text))]


def named_paths(code: list[str]) -> set[str]:
    words = {word.strip("\"',;:()[]") for line in code for word in line.split()}
    words = {word.partition("::")[0].rstrip(".") for word in words if not PLACEHOLDER.search(word)}
    return {word for word in words if word.startswith(tuple(f"{folder}/" for folder in TRACKED_FOLDERS))} | {
        word for word in words if SOURCE_FILE.fullmatch(word)
    }


def is_there(path: str) -> bool:
    if "/" in path:
        return (ROOT / path).exists()
    return any(
        found.name == path for folder in (ROOT, *map(ROOT.joinpath, TRACKED_FOLDERS)) for found in _files(folder)
    )


def _files(folder: Path) -> Iterator[Path]:
    return folder.iterdir() if folder == ROOT else folder.rglob("*")


def defined(tree: ast.Module) -> set[str]:
    """Names that a module offers."""
    bound = {node.name for node in tree.body if isinstance(node, ast.ClassDef | ast.FunctionDef)}
    imports = [node for node in tree.body if isinstance(node, ast.Import | ast.ImportFrom)]
    bound |= {alias.asname or alias.name for node in imports for alias in node.names}
    return bound | {
        node.id for node in ast.walk(tree) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)
    }


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_every_path_that_a_document_names_exists(document):
    missing = {path for path in named_paths(code_of(document)) if not is_there(path)}
    links = LINK.findall(document.read_text(encoding="utf-8"))
    missing |= {link for link in links if "://" not in link and not (document.parent / link).exists()}
    assert not missing


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_every_make_target_that_a_document_names_exists(document):
    targets = set(re.findall(r"^\.PHONY: ([\w-]+)", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    named = {found for line in code_of(document) for found in re.findall(r"(?:^|&& )make ([a-z][\w-]*)", line.strip())}
    assert named <= targets


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_every_option_that_a_document_gives_a_command_exists(document):
    shared = (ROOT / "gslrm" / "cli.py").read_text(encoding="utf-8")
    for line in code_of(document):
        command = re.search(r"(?:python|bash|torchrun)\b[^#|;]*?\s([\w/.-]+\.(?:py|sh))\b([^#|;]*)", line)
        if command is None:
            continue
        script = ROOT / command[1]
        assert script.exists(), line
        source = script.read_text(encoding="utf-8") + shared
        unknown = [option for option in re.findall(r"(?<=\s)--[\w-]+", command[2]) if option not in source]
        assert not unknown, f"{command[1]} has no {unknown}: {line}"


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_every_key_that_a_document_sets_exists(document):
    keys = {key for key, _ in schema_keys()}
    lines = [line for line in code_of(document) if "--set" in line]
    pairs = {key for line in lines for key in re.findall(r"\s([a-z][\w.]*)=", line.partition("--set")[2])}
    assert pairs <= keys


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_every_name_that_a_document_imports_from_us_exists(document):
    for line in code_of(document):
        match = re.match(r"\s*from (gslrm[\w.]*) import ([\w, ]+)", line)
        if match is None:
            continue
        path = ROOT / Path(*match[1].split("."))
        source = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
        names = set(re.split(r",\s*", match[2].strip()))
        assert names <= defined(parse(source)) | {found.stem for found in path.glob("*")}, line
