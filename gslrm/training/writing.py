"""Files that bear their name only when they are complete: the ground that checkpoints stand on."""

import copy
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor


def write_file(state: Mapping[str, Any], path: Path) -> None:
    """Write a state into one file, and flush it to the disk; the same state gives the same bytes.

    Raises:
        OSError: the disk is full or not writable.
    """
    with path.open("wb") as file:
        watched = _Watched(file)
        try:
            torch.save(in_host_memory(state), watched)  # type: ignore[arg-type]  # it needs no more than these two
        except RuntimeError as error:  # torch's words for a failed write do not say why it failed
            raise watched.error or error from error
        file.flush()
        os.fsync(file.fileno())


def in_host_memory(state: Mapping[str, Any], *, apart: bool = False) -> dict[str, Any]:
    """A copy of a state whose tensors lie in host memory; `apart` from those that training goes on to change.

    Storages that tensors share are shared in the copy too.
    """
    memo: dict[int, Any] = {}
    for tensor in _tensors(state):
        if tensor.device.type != "cpu":
            memo[id(tensor)] = tensor.cpu()
        elif not apart:
            memo[id(tensor)] = tensor
    return copy.deepcopy(dict(state), memo)


def temporary_of(path: Path) -> Path:
    """Where something is written before it is complete; the same in every process."""
    return path.with_name(f".{path.name}.tmp")


def replace(path: Path, write: Callable[[Path], object]) -> None:
    """Write beside `path`, then let that take its place; after an error nothing has changed.

    Raises:
        OSError: the disk is full or not writable.
    """
    temporary = temporary_of(path)
    remove(temporary)
    try:
        write(temporary)
        publish(temporary, path)
    except BaseException:
        remove(temporary)
        raise


def publish(temporary: Path, path: Path) -> None:
    """Give a complete file or folder its name, in place of what had that name before."""
    if path.is_dir() and not path.is_symlink():  # a folder cannot be replaced in one step
        path.rename(_aside(path))
    temporary.replace(path)
    remove(_aside(path))
    _flush_folder(path.parent)


def clean(folder: Path) -> None:
    """Remove what a killed process left half written, and give a folder its name back that was being replaced."""
    for aside in folder.glob(".*.old"):
        path = folder / aside.name[1 : -len(".old")]
        if path.exists():
            remove(aside)
        else:
            aside.rename(path)
    for temporary in folder.glob(".*.tmp"):
        remove(temporary)


def remove(path: Path) -> None:
    """Remove a file, a link or a folder, where there is one."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


class _Watched:
    """A file that remembers why writing to it failed."""

    def __init__(self, file: Any) -> None:
        self.file = file
        self.error: OSError | None = None

    def write(self, data: Any) -> int:
        try:
            return self.file.write(data)
        except OSError as error:
            self.error = error
            raise

    def flush(self) -> None:
        self.file.flush()


def _aside(path: Path) -> Path:
    return path.with_name(f".{path.name}.old")


def _flush_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)  # the rename itself must survive a power cut
    finally:
        os.close(descriptor)


def _tensors(value: Any) -> Iterator[Tensor]:
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, Mapping):
        for item in value.values():
            yield from _tensors(item)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _tensors(item)
