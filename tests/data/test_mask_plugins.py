"""Segmenters of other projects: what is said when they are not there, and how they are called when they are."""

import sys
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest

from gslrm.data import mask_plugins
from gslrm.errors import UserError

IMAGE = np.zeros((6, 8, 3), np.uint8)


@pytest.fixture
def weights(tmp_path):
    path = tmp_path / "sam2.1_hiera_base_plus.pt"
    path.write_bytes(b"weights")
    return path


def install(monkeypatch, name: str, **contents: object) -> None:
    module = ModuleType(name)
    vars(module).update(contents)
    monkeypatch.setitem(sys.modules, name, module)


class TestAbsence:
    def test_an_unknown_name_is_answered_with_the_known_ones(self, weights):
        with pytest.raises(UserError, match="rembg, sam2"):
            mask_plugins.load("rembgg", weights)

    @pytest.mark.parametrize("name", ["rembg", "sam2"])
    def test_a_missing_package_is_answered_with_the_line_that_installs_it(self, name, weights, monkeypatch):
        monkeypatch.setitem(sys.modules, name, None)
        with pytest.raises(UserError, match="pip install"):
            mask_plugins.load(name, weights)

    def test_missing_weights_are_named_and_not_downloaded(self, tmp_path, monkeypatch):
        install(monkeypatch, "rembg")
        with pytest.raises(UserError, match=r"u2net\.onnx: weights of rembg are missing"):
            mask_plugins.load("rembg", tmp_path / "u2net.onnx")


class TestCalls:
    def test_rembg_is_given_the_weights_and_its_grey_mask_becomes_coverage(self, weights, monkeypatch):
        def new_session(kind, model_path):
            return SimpleNamespace(kind=kind, path=model_path)

        def remove(image, *, session, only_mask):
            assert only_mask
            assert (session.kind, session.path) == ("u2net_custom", str(weights))
            return np.full(image.shape[:2], 51, np.uint8)

        install(monkeypatch, "rembg", new_session=new_session, remove=remove)
        found = mask_plugins.load("rembg", weights)(IMAGE)
        np.testing.assert_allclose(found, 0.2)
        assert found.dtype == np.float32

    def test_sam2_gives_the_largest_mask_that_is_not_the_floor(self, weights, monkeypatch):
        small, large, floor = (np.zeros(IMAGE.shape[:2], bool) for _ in range(3))
        small[2, 2], large[2:4, 2:5], floor[:] = True, True, True

        def build_sam2(config, checkpoint, *, device):
            assert (config, checkpoint) == ("configs/sam2.1/sam2.1_hiera_b+.yaml", str(weights))
            return device

        def generator(model):
            assert model == "cpu"
            return SimpleNamespace(generate=lambda image: [{"segmentation": mask} for mask in (floor, small, large)])

        install(monkeypatch, "sam2")
        install(monkeypatch, "sam2.build_sam", build_sam2=build_sam2)
        install(monkeypatch, "sam2.automatic_mask_generator", SAM2AutomaticMaskGenerator=generator)
        np.testing.assert_array_equal(mask_plugins.load("sam2", weights)(IMAGE), large)

    def test_sam2_weights_that_were_renamed_are_refused(self, tmp_path, monkeypatch):
        path = tmp_path / "model.pt"
        path.write_bytes(b"")
        install(monkeypatch, "sam2")
        with pytest.raises(UserError, match="published name"):
            mask_plugins.load("sam2", path)
