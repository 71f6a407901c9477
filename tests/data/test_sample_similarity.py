"""The similarity of a prepared sample stands in its camera file, and undoes its placement."""

import json
from pathlib import Path

import numpy as np
import pytest
from helpers import ring, write_ball_sample
from placement_helpers import assert_same_camera, mouse_of, scene

from gslrm.cameras import Cameras
from gslrm.data.normalize import place_object
from gslrm.data.sample import read_sample, write_sample
from gslrm.errors import UserError
from gslrm.similarity import Similarity
from gslrm.tensor_struct import stack


def test_the_similarity_of_a_prepared_sample_is_read_back_and_undoes_it(tmp_path):
    masks, cameras = scene(size=32)
    placement = place_object(masks, cameras, size=32, mouse=mouse_of(crop="pretrained", normalize_to_z_up=True))
    placed = [placement.network_camera(camera) for camera in cameras]
    write_cameras(tmp_path / "s", placed, placement.world_from_source)
    sample = read_sample(tmp_path / "s")
    assert sample.world_from_source is not None
    source_from_world = sample.world_from_source.inverse()
    for view, camera in zip(sample.views, cameras, strict=True):
        assert_same_camera(view.camera.transform(source_from_world), placement.crop_camera(camera))


def test_a_sample_of_the_recordings_own_world_says_nothing(tmp_path):
    write_cameras(tmp_path / "s", scene(size=32)[1], None)
    assert read_sample(tmp_path / "s").world_from_source is None
    assert "similarity" not in json.loads((tmp_path / "s/opencv_cameras.json").read_text())


@pytest.mark.parametrize(
    ("matrix", "message"),
    [
        (np.diag([2.0, 2.0, 3.0, 1.0]), "no scaled rotation"),
        (np.diag([2.0, 2.0, -2.0, 1.0]), "mirrors"),
        (np.diag([2.0, 2.0, 2.0, 2.0]), "last row"),
        (np.full((4, 4), np.nan), "NaN"),
        (np.eye(3), "expected a 4x4"),
        (None, "expected a 4x4"),
    ],
)
def test_what_is_no_similarity_is_refused_by_file(tmp_path, matrix, message):
    directory = write_ball_sample(tmp_path / "s", ring(3, size=16))
    file = directory / "opencv_cameras.json"
    content = json.loads(file.read_text())
    content["similarity"] = {"world_from_source": None if matrix is None else matrix.tolist()}
    file.write_text(json.dumps(content))
    with pytest.raises(UserError, match=f"opencv_cameras.json: similarity.world_from_source: .*{message}"):
        read_sample(directory)


def test_a_similarity_without_its_matrix_is_refused(tmp_path):
    directory = write_ball_sample(tmp_path / "s", ring(3, size=16))
    file = directory / "opencv_cameras.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"similarity": {"scale": 2}}))
    with pytest.raises(UserError, match="similarity.world_from_source: is missing"):
        read_sample(directory)


def write_cameras(directory: Path, cameras: list[Cameras], world_from_source: Similarity | None) -> None:
    together = stack(cameras)
    shape = (len(cameras), together.height, together.width)
    write_sample(
        directory,
        images=np.zeros((*shape, 3), np.uint8),
        masks=np.zeros(shape, np.uint8),
        depths=None,
        cameras=together,
        world_from_source=world_from_source,
    )
