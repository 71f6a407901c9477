"""Data sets over small written samples, for the tests of gslrm/data."""

import json
from pathlib import Path

from gslrm.config import DatasetConfig, MouseConfig
from gslrm.data.mouse_dataset import MouseViewDataset
from gslrm.data.sample import CAMERA_FILE

BALL = (70.0, 40.0, 20.0)
CROPS = MouseConfig(normalize_cameras=True, object_size=1.2, crop_footprint=1.5)


def dataset_of(path: Path, kind=MouseViewDataset, mouse: MouseConfig = CROPS, size: int = 32, **settings: object):
    defaults = {"dataset_path": str(path), "num_views": 8, "num_input_views": 4}
    return kind(DatasetConfig.model_validate(defaults | settings), mouse, image_size=size, seed=3)


def edit_cameras(directory: Path, change) -> None:
    file = directory / CAMERA_FILE
    content = json.loads(file.read_text())
    change(content)
    file.write_text(json.dumps(content))
