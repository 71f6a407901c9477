"""MouseViewDataset: the views of a rig in camera-file order, in every batch."""

import numpy as np
import torch

from gslrm.data.dataset import ViewDataset, require_views
from gslrm.data.sample import Sample
from gslrm.types import Batch


class MouseViewDataset(ViewDataset):
    """Views [0 .. num_views - 1] in the order of the camera file; the first `num_input_views` are the inputs.

    The network itself does not see the order (it has no view embedding unless `add_refsrc_marker` is on). What the
    fixed order gives is that the same cameras are inputs throughout, and that pictures and figures can be compared.
    """

    def choose_views(self, sample: Sample, rng: np.random.Generator) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """See the base class.

        Raises:
            UserError: the sample has fewer views than asked for.
        """
        require_views(sample, self.dataset.num_views)
        first = 0 if self.dataset.target_has_input else self.dataset.num_input_views
        return tuple(range(self.dataset.num_input_views)), tuple(range(first, self.dataset.num_views))

    def collate(self, items: list[Batch]) -> Batch:
        """Stack items and assert the order of their views."""
        batch = super().collate(items)
        assert_camera_order(batch, dropped=self.dataset.min_input_views is not None)
        return batch


def assert_camera_order(batch: Batch, *, dropped: bool = False) -> None:
    """The law of this data set, checked on every batch; some input views may be `dropped`.

    Raises:
        AssertionError: inputs are not views 0, 1, 2, ... or targets are not ascending.
    """
    expected = torch.arange(batch.input_index.shape[-1]).expand_as(batch.input_index)
    ascending = bool((batch.input_index.diff(dim=-1) > 0).all())
    if not (ascending if dropped else torch.equal(batch.input_index, expected)):
        raise AssertionError(f"input views are {batch.input_index.tolist()}, not in camera-file order")
    if not (batch.target_index.diff(dim=-1) > 0).all():
        raise AssertionError(f"target views are {batch.target_index.tolist()}, not in camera-file order")
