"""Sample directories on disk to Views in the network's world."""

from collections.abc import Iterator
from functools import partial

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
    )


def load_batches(dataset: ViewDataset, config: Config, *, start: int, stop: int) -> Iterator[Batch]:
    """Batches for the passes `start` .. `stop` - 1; the same ones for any number of workers.

    Raises:
        UserError: names the sample and file that cannot be used.
    """
    options = config.training.dataloader
    sampler = StreamSampler(
        len(dataset), batch_size=options.batch_size_per_gpu, seed=dataset.seed, start=start, stop=stop
    )
    workers = options.num_workers
    loader = DataLoader(
        dataset,
        batch_sampler=sampler,
        num_workers=workers,
        collate_fn=dataset.collate,
        worker_init_fn=partial(_limit_threads, options.num_threads) if workers else None,
        prefetch_factor=options.prefetch_factor if workers else None,
        # a plain fork of a process whose OpenCV has running threads can wait for them forever
        multiprocessing_context="forkserver" if workers else None,
    )
    try:
        yield from loader
    except UserError as error:
        raise UserError(_own_words(error)) from None


def _own_words(error: UserError) -> str:
    """The message without the worker's traceback that DataLoader puts around it."""
    return str(error).rsplit(f"{UserError.__module__}.{UserError.__qualname__}: ", 1)[-1].strip()


def _limit_threads(threads: int, worker: int) -> None:
    torch.set_num_threads(threads)
    cv2.setNumThreads(threads)
