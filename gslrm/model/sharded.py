"""Checkpoints that are folders: each process of a run writes its part of the large tensors.

`torch.distributed.checkpoint` writes them, so parts are put together for any number of processes. Its list of tensors,
`.metadata`, is a pickle that it reads without any restriction, and values that are not tensors it would unpickle too.
Here the list may name nothing but the classes that describe tensors, all else lies in a file that is read with
weights_only, and lists that promise more than tensors are refused: such a folder can run no code.
"""

import json
import os
import pickle
import warnings
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, distributed

from gslrm.errors import UserError

PLAIN_FILE, LIST_FILE, COMPLETE_FILE = "plain.pt", ".metadata", "complete.json"
IN_PARTS = ("model", "adapter", "ema", "optimizer")  # where the large tensors are; small ones differ between processes
BLOCK = 2**24  # bytes read at once
MARK = "__in_parts__"  # stands for a tensor in the plain file
DAMAGE: tuple[type[Exception], ...] = (OSError, RuntimeError, ValueError, LookupError, EOFError, AttributeError)
DAMAGE += (TypeError, pickle.UnpicklingError)
LISTS = "torch.distributed.checkpoint"
MAY_NAME = {
    *((f"{LISTS}.metadata", name) for name in ("Metadata", "MetadataIndex", "StorageMeta", "TensorProperties")),
    *((f"{LISTS}.metadata", name) for name in ("TensorStorageMetadata", "ChunkStorageMetadata")),
    (f"{LISTS}.metadata", "_MEM_FORMAT_ENCODING"),
    (f"{LISTS}.filesystem", "_StorageInfo"),
    ("torch", "Size"),
    ("torch.serialization", "_get_layout"),  # a name to a layout, nothing else
    ("pathlib", "PosixPath"),
    ("pathlib", "WindowsPath"),
    ("pathlib._local", "PosixPath"),  # Python 3.13
    ("pathlib._local", "WindowsPath"),
}


def write_sharded(content: Mapping[str, Any], directory: Path) -> None:
    """Write a checkpoint's content into a new folder; all processes of the group call this alike.

    Raises:
        OSError: the disk of one of them is full or not writable.
    """
    from torch.distributed import checkpoint

    alone = not distributed.is_initialized()
    plain, tensors = _split(content)
    try:
        directory.mkdir(parents=True, exist_ok=True)
        with _quietly():
            checkpoint.save(tensors, storage_writer=checkpoint.FileSystemWriter(directory), no_dist=alone)
    except checkpoint.api.CheckpointException as error:
        failure = _first_failure(error)
        if isinstance(failure, OSError):
            raise OSError(failure.errno, f"process {min(error.failures)}: {failure.strerror or failure}") from error
        raise RuntimeError(f"process {min(error.failures)} could not write its part: {failure}") from error
    rank = 0 if alone else distributed.get_rank()
    sums = _gathered({path.name: _checksum(path) for path in directory.glob(f"__{rank}_*.distcp")})
    if rank == 0:
        _flush(directory / PLAIN_FILE, lambda file: torch.save(plain, file))
        sums |= {name: _checksum(directory / name) for name in (PLAIN_FILE, LIST_FILE)}
        _flush(directory / COMPLETE_FILE, lambda file: file.write(json.dumps(sums).encode()))


def read_sharded(directory: Path) -> dict[str, Any]:
    """The whole content on the CPU, as a file would hold it, whoever wrote it.

    Raises:
        UserError: parts are missing or damaged, or the folder could run code.
    """
    from torch.distributed import checkpoint

    class Reader(checkpoint.FileSystemReader):
        def read_metadata(self, *args: Any, **options: Any) -> checkpoint.Metadata:
            return found

    _require_complete(directory)
    try:
        plain = torch.load(directory / PLAIN_FILE, map_location="cpu", weights_only=True)
        found = read_list(directory / LIST_FILE)
        kinds = found.state_dict_metadata.items()
        tensors = {name: torch.empty(kind.size, dtype=kind.properties.dtype) for name, kind in kinds}
        with _quietly():
            checkpoint.load(tensors, storage_reader=Reader(directory), no_dist=True)
        return _join(plain, tensors)
    except DAMAGE as error:
        raise _damaged(directory, error) from error
    except checkpoint.api.CheckpointException as error:
        raise _damaged(directory, _first_failure(error)) from error


class _ListUnpickler(pickle.Unpickler):
    """Makes nothing but descriptions of tensors."""

    def find_class(self, module: str, name: str) -> Any:
        is_dtype = module == "torch" and isinstance(getattr(torch, name, None), torch.dtype)
        if (module, name) in MAY_NAME or is_dtype:
            return super().find_class(module, name)
        raise pickle.UnpicklingError(f"its list of tensors names {module}.{name}")


def read_list(path: Path) -> Any:
    """The `.metadata` of torch.distributed.checkpoint, without running any code.

    Raises:
        UnpicklingError: it names what describes no tensor.
    """
    with path.open("rb") as file:
        found = _ListUnpickler(file).load()
    if type(found).__name__ != "Metadata":
        raise pickle.UnpicklingError("its list of tensors is none")
    for place in found.storage_data.values():
        if Path(place.relative_path).name != place.relative_path:
            raise pickle.UnpicklingError(f"its list of tensors names {place.relative_path}")
    return found


def _split(content: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Content with marks for its large tensors, and these by name."""
    tensors: dict[str, Tensor] = {}

    def take(value: Any, name: str) -> Any:
        if isinstance(value, Tensor) and value.ndim:
            tensors[name] = value
            return {MARK: name}
        if isinstance(value, Mapping):
            return {key: take(item, f"{name}/{key}") for key, item in value.items()}
        return value

    plain = {key: take(value, key) if key in IN_PARTS else value for key, value in content.items()}
    return plain, tensors


def _join(plain: Any, tensors: Mapping[str, Tensor]) -> Any:
    if isinstance(plain, dict):
        return tensors[plain[MARK]] if MARK in plain else {key: _join(item, tensors) for key, item in plain.items()}
    return plain


def _first_failure(error: Any) -> BaseException:
    return error.failures[min(error.failures)][0]


@contextmanager
def _quietly() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="torch.distributed is disabled")  # so we told it
        yield


def _require_complete(directory: Path) -> None:
    if not (directory / COMPLETE_FILE).is_file():
        raise UserError(
            f"{directory}: has no {COMPLETE_FILE}, so it is no checkpoint, or was not written or copied to its end; "
            "name a checkpoint, such as RUN/checkpoints/latest"
        )
    try:
        sums = json.loads((directory / COMPLETE_FILE).read_text(encoding="utf-8"))
        wrong = [name for name, known in sums.items() if _checksum(directory / Path(name).name) != known]
    except DAMAGE as error:
        raise _damaged(directory, error) from error
    if wrong or not {PLAIN_FILE, LIST_FILE} <= sums.keys():
        raise _damaged(directory, f"{(wrong or [LIST_FILE])[0]} is not what was written")


def _gathered(own: dict[str, int]) -> dict[str, int]:
    """What the processes say of their files, together."""
    if not distributed.is_initialized():
        return own
    all_of_them: list[dict[str, int]] = [{}] * distributed.get_world_size()
    distributed.all_gather_object(all_of_them, own)
    return {name: known for each in all_of_them for name, known in each.items()}


def _checksum(path: Path) -> int:
    """CRC-32 of a file, which torch.distributed.checkpoint does not keep."""
    value = 0
    with path.open("rb") as file:
        while block := file.read(BLOCK):
            value = zlib.crc32(block, value)
    return value


def _damaged(directory: Path, why: object) -> UserError:
    first_line = (str(why).strip().splitlines() or [type(why).__name__])[0][:200]
    return UserError(f"{directory}: not a readable checkpoint folder ({first_line}); copy all of it again")


def _flush(path: Path, write: Any) -> None:
    with path.open("wb") as file:
        write(file)
        file.flush()
        os.fsync(file.fileno())
