"""A pass leaves nothing behind: no tensor, no open file."""

import gc
from collections import Counter
from pathlib import Path

import pytest
import torch
from training_helpers import configure

from gslrm.training.trainer import Trainer

DESCRIPTORS = Path("/proc/self/fd")
WARM, PASSES = 12, 62


def living_tensors() -> list[torch.Tensor]:
    gc.collect()
    return [thing for thing in gc.get_objects() if issubclass(type(thing), torch.Tensor)]


class Counted(Trainer):
    """Counts what lives after a warm pass and after fifty more."""

    seen: list[tuple[Counter[tuple[int, ...]], int]]

    def after_pass(self, *args: object) -> None:
        super().after_pass(*args)
        if self.position.passes in (WARM, PASSES):
            shapes = Counter(tuple(tensor.shape) for tensor in living_tensors())
            self.seen.append((shapes, len(list(DESCRIPTORS.iterdir()))))


@pytest.mark.skipif(not DESCRIPTORS.is_dir(), reason="this system does not list open files")
def test_fifty_passes_leave_no_tensor_and_no_open_file_behind(samples, tmp_path):
    config = configure(
        samples,
        runtime={"use_amp": True, "amp_dtype": "bf16"},
        dataloader={"num_workers": 1},
        adapt={"ema": {"decay": 0.9}},
        schedule={"max_fwdbwd_passes": PASSES + 6},
        checkpointing={"checkpoint_every": 10},
        logging={"vis_every": 11, "wandb": {"mode": "disabled", "log_every": 1}},
    )
    others = living_tensors()  # kept, for those of earlier tests may go at any time
    trainer = Counted(config, tmp_path)
    trainer.seen = []
    trainer.run()
    (tensors, files), (later_tensors, later_files) = trainer.seen
    assert tensors.total() > len(others) + 10
    assert later_tensors == tensors
    assert later_files == files
