"""The frozen networks: VGG19 as published, from every file that may carry it; LPIPS where it is installed."""

import json
from importlib.util import find_spec
from itertools import pairwise

import numpy as np
import pytest
import torch
from helpers import FIXTURES
from scipy.io import savemat

from gslrm.errors import UserError
from gslrm.model import perceptual
from gslrm.model.perceptual import CHANNELS, MATCONVNET_LAYERS, VGG_PREFIX, LpipsDistance, VggDistance


@pytest.fixture(scope="module")
def seeded() -> dict[str, torch.Tensor]:
    """The random VGG19 that the published code was run with."""
    weights = {}
    for k, (cin, cout) in enumerate(pairwise((3, *CHANNELS))):
        random = np.random.RandomState(12345 + k)
        kernel = random.standard_normal((cout, cin, 3, 3)) * np.sqrt(2 / (9 * cin))
        weights[f"conv{k + 1}.weight"] = torch.from_numpy(kernel.astype(np.float32))
        weights[f"conv{k + 1}.bias"] = torch.from_numpy((0.01 * random.standard_normal(cout)).astype(np.float32))
    return weights


@pytest.fixture(scope="module")
def pictures() -> tuple[torch.Tensor, torch.Tensor]:
    z = np.load(FIXTURES / "facelift/losses.npz")
    target = torch.from_numpy(z["target_rgba"])[:, :, :3]
    return torch.from_numpy(z["rendering"]).flatten(0, 1), target.flatten(0, 1)


def test_the_perceptual_distance_equals_the_published_code_with_its_seeded_weights(seeded, pictures):
    values = json.loads(str(np.load(FIXTURES / "facelift/losses.npz")["values"]))
    value = VggDistance().load(seeded)(*pictures).item()
    np.testing.assert_allclose(value, values["perceptual_seededvgg"]["loss"], rtol=1e-4)


def test_equal_pictures_are_at_no_distance_and_the_network_stays_as_it_is(seeded, pictures):
    network = VggDistance().load(seeded)
    rendered = pictures[0][:1].clone().requires_grad_()
    assert network(rendered.detach(), rendered.detach()) == 0
    network(rendered, pictures[1][:1]).backward()
    assert rendered.grad.isfinite().all()
    assert rendered.grad.abs().max() > 0
    assert not [parameter for parameter in network.parameters() if parameter.requires_grad]


@pytest.fixture
def small(monkeypatch) -> dict[str, torch.Tensor]:
    """A VGG19 with two channels per layer: the real one is 80 MB on disk."""
    monkeypatch.setattr(perceptual, "CHANNELS", (2,) * 16)
    torch.manual_seed(0)
    weights = {}
    for number in range(1, 17):
        weights[f"conv{number}.weight"] = torch.randn(2, 3 if number == 1 else 2, 3, 3)
        weights[f"conv{number}.bias"] = torch.randn(2)
    return weights


def write_matconvnet(path, weights: dict[str, torch.Tensor]) -> None:
    """matconvnet's layout: a row of layers, each a structure whose third field holds kernel and bias."""
    layers = np.empty((1, max(MATCONVNET_LAYERS) + 1), dtype=object)
    for index in range(layers.shape[1]):
        layers[0, index] = {"name": "pool", "type": "pool"}
    for number, index in enumerate(MATCONVNET_LAYERS, start=1):
        both = np.empty((1, 2), dtype=object)
        both[0, 0] = weights[f"conv{number}.weight"].permute(2, 3, 1, 0).numpy()
        both[0, 1] = weights[f"conv{number}.bias"][:, None].numpy()
        layers[0, index] = {"name": f"conv{number}", "type": "conv", "weights": both, "pad": 1.0}
    savemat(path, {"layers": layers})


@pytest.mark.parametrize("kind", ["facelift checkpoint", "state dict", "matconvnet"])
def test_weights_come_from_every_file_that_carries_them(kind, small, tmp_path):
    path = tmp_path / ("vgg.mat" if kind == "matconvnet" else "vgg.pt")
    if kind == "matconvnet":
        write_matconvnet(path, small)
    elif kind == "state dict":
        torch.save(small, path)
    else:
        checkpoint = {VGG_PREFIX + key: value for key, value in small.items()} | {"other.weight": torch.ones(1)}
        torch.save({"model": checkpoint, "fwdbwd_pass_step": 3}, path)
    loaded = VggDistance.from_file(path).net.state_dict()
    assert set(loaded) == set(small)
    for key, value in small.items():
        assert torch.equal(loaded[key], value), key


def test_without_weights_the_cure_is_named(tmp_path):
    for path in (None, tmp_path / "gone.pt"):
        with pytest.raises(UserError, match=r"perceptual_weights .* or set perceptual_loss_weight: 0"):
            VggDistance.from_file(path)
    torch.save({"model": {"a": torch.ones(1)}}, tmp_path / "other.pt")
    with pytest.raises(UserError, match=r"other\.pt: 32 of the 32 tensors .* loss_calculator"):
        VggDistance.from_file(tmp_path / "other.pt")
    (tmp_path / "broken.mat").write_bytes(b"MATLAB 5.0 MAT-file, but not really" * 9)
    with pytest.raises(UserError, match=r"broken\.mat: not matconvnet's VGG19"):
        VggDistance.from_file(tmp_path / "broken.mat")


def test_lpips_without_its_packages_names_them(monkeypatch):
    monkeypatch.setattr(perceptual, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"pip install lpips torchvision; or set lpips_loss_weight: 0"):
        LpipsDistance.pretrained()


def test_lpips_passes_pictures_in_its_own_range_and_never_trains():
    class Net(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.drop = torch.nn.Dropout(0.5)
            self.weight = torch.nn.Parameter(torch.ones(1))

        def forward(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
            assert (float(x.min()), float(y.max())) == (-1, 1)
            return self.drop(self.weight * (x - y).abs()).mean(dim=(1, 2, 3), keepdim=True)

    distance = LpipsDistance(Net()).train()
    value = distance(torch.zeros(2, 3, 8, 8), torch.ones(2, 3, 8, 8))
    assert value == 2  # no dropout
    assert not distance.net.weight.requires_grad


@pytest.fixture
def torchvision_beside_cpu_torch():
    """Its registry wheel registers operators for CUDA builds only, and fails to import unless their schemas exist."""
    for name in ("lpips", "torchvision"):  # importing them is what needs the schemas
        if find_spec(name) is None:
            pytest.skip(f"{name} is not installed")
    library = torch.library.Library("torchvision", "FRAGMENT")
    for schema in (
        "nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
        "qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    ):
        try:
            library.define(schema)
        except RuntimeError:  # a torchvision that fits has them
            break
    yield
    del library


def test_lpips_runs_with_random_weights(torchvision_beside_cpu_torch, pictures):
    import lpips

    torch.manual_seed(0)
    distance = LpipsDistance(lpips.LPIPS(net="vgg", pretrained=False, pnet_rand=True, verbose=False))
    rendered = pictures[0][:1].clamp(0, 1).clone().requires_grad_()
    assert distance(rendered.detach(), rendered.detach()) == 0
    value = distance(rendered, pictures[1][:1])
    value.backward()
    assert value.isfinite()
    assert value != 0
    assert rendered.grad.isfinite().all()
    assert rendered.grad.abs().max() > 0
