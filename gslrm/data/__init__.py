"""Sample directories on disk to Views in the network's world."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from multiprocessing import resource_tracker

import cv2
import torch
from torch.utils.data import DataLoader

from gslrm.config import Config, DatasetConfig
from gslrm.data.dataset import RandomViewDataset, ViewDataset
from gslrm.data.mouse_dataset import MouseViewDataset
from gslrm.data.sampler import StreamSampler
from gslrm.errors import UserError
from gslrm.types import Batch


def build_dataset(config: Config, dataset: DatasetConfig | None = None) -> ViewDataset:
    """The data set that `mouse.use_mouse_dataset` chooses, on `training.dataset` unless another section is given.

    Raises:
        UserError: the path is missing or holds no samples.
    """
    kind = MouseViewDataset if config.mouse.use_mouse_dataset else RandomViewDataset
    return kind(
        dataset or config.training.dataset,
        config.mouse,
        image_size=config.model.image_tokenizer.image_size,
        seed=config.training.runtime.seed,
        depths=dataset is None and config.training.losses.needs_depth_maps,
    )


def load_batches(
    dataset: ViewDataset, config: Config, *, start: int, stop: int, rank: int = 0, processes: int = 1
) -> Iterator[Batch]:
    """Batches of one process for the passes `start` .. `stop` - 1; the same ones for any number of workers.

    Those of all `processes` are together the batch of one process that is as large.

    Raises:
        UserError: names the sample and file that cannot be used.
    """
    options = config.training.dataloader
    sampler = StreamSampler(
        len(dataset), batch_size=options.batch_size_per_gpu, seed=dataset.seed, start=start, stop=stop,
        rank=rank, processes=processes,
    )  # fmt: skip
    workers = options.num_workers
    loader = DataLoader(
        dataset,
        batch_sampler=sampler,
        num_workers=workers,
        collate_fn=dataset.collate,
        worker_init_fn=partial(_limit_threads, options.num_threads) if workers else None,
        generator=torch.Generator().manual_seed(dataset.seed),  # a start must not draw from the global one
        prefetch_factor=options.prefetch_factor if workers else None,
        # a plain fork of a process whose OpenCV has running threads can wait for them forever
        multiprocessing_context="forkserver" if workers else None,
    )
    try:
        with _spared_from_signals():
            batches = iter(loader)
        yield from batches
    except UserError as error:
        raise UserError(_own_words(error)) from None


def _own_words(error: UserError) -> str:
    """The message without the worker's traceback that DataLoader puts around it."""
    return str(error).rsplit(f"{UserError.__module__}.{UserError.__qualname__}: ", 1)[-1].strip()


@contextmanager
def _spared_from_signals() -> Iterator[None]:
    """Context in which new processes inherit that they leave Ctrl-C and SIGUSR1 to their parent.

    A terminal or a cluster sends them to all processes of a run; a worker would die of them before the run has ended.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR1})
    try:
        resource_tracker.ensure_running()  # ignores Ctrl-C by itself, and allows it again to this process
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _limit_threads(threads: int, worker: int) -> None:
    torch.set_num_threads(threads)
    cv2.setNumThreads(threads)
