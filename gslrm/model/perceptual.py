"""Frozen networks that compare pictures by their features: FaceLift's VGG19 distance and LPIPS."""

from collections.abc import Mapping
from importlib.util import find_spec
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from gslrm.errors import UserError
from gslrm.model.weights import read_state_dict

VGG_PREFIX = "loss_calculator.perceptual_loss_module.net."
CHANNELS = (64, 64, 128, 128, 256, 256, 256, 256, 512, 512, 512, 512, 512, 512, 512, 512)
POOL_AFTER = {2, 4, 8, 12}  # 1-based convolutions followed by 2x2 average pooling
FEATURES = {2: 1 / 2.6, 4: 1 / 4.8, 6: 1 / 3.7, 10: 1 / 5.6, 14: 10 / 1.5}  # convolution -> weight of its L1
MATCONVNET_LAYERS = (0, 2, 5, 7, 10, 12, 14, 16, 19, 21, 23, 25, 28, 30, 32, 34)  # convolutions among its layers
MEAN_RGB = (123.68, 116.779, 103.939)  # matconvnet's, of 255, without division by a deviation


class VggDistance(nn.Module):
    """Weighted L1 of VGG19 features (matconvnet weights, average pooling), as FaceLift's GS-LRM trains with."""

    def __init__(self) -> None:
        super().__init__()
        pairs = pairwise((3, *CHANNELS))
        self.net = nn.ModuleDict({f"conv{k}": nn.Conv2d(a, b, 3, padding=1) for k, (a, b) in enumerate(pairs, start=1)})
        self.requires_grad_(False)

    @staticmethod
    def from_file(path: Path | None) -> "VggDistance":
        """The network with weights of a FaceLift checkpoint, a state dict of its own, or matconvnet's `.mat` file.

        Raises:
            UserError: no file is configured, it is not there, or it has no such weights.
        """
        if path is None or not path.is_file():
            given = "is not set" if path is None else f"{path}: no such file"
            raise UserError(
                f"training.losses.perceptual_weights {given}; name a FaceLift GS-LRM checkpoint, which carries the "
                "VGG19 weights, or matconvnet's imagenet-vgg-verydeep-19.mat, or set perceptual_loss_weight: 0"
            )
        weights = read_matconvnet(path) if path.suffix == ".mat" else read_state_dict(path)
        carried = {k.removeprefix(VGG_PREFIX): v for k, v in weights.items() if k.startswith(VGG_PREFIX)}
        try:
            return VggDistance().load(carried or weights)
        except UserError as error:
            raise UserError(f"{path}: {error}") from error

    def load(self, weights: Mapping[str, Tensor]) -> "VggDistance":
        """Set `conv{1..16}.{weight,bias}`; returns self.

        Raises:
            UserError: a tensor is missing or of another shape.
        """
        own = self.net.state_dict()
        wrong = [key for key in own if key not in weights or weights[key].shape != own[key].shape]
        if wrong:
            raise UserError(
                f"{len(wrong)} of the {len(own)} tensors of the perceptual VGG19 are missing or of another shape "
                f"(first: {wrong[0]}); published checkpoints carry them as {VGG_PREFIX}*"
            )
        self.net.load_state_dict({key: weights[key] for key in own})
        return self

    def forward(self, rendered: Float[Tensor, "n 3 h w"], target: Float[Tensor, "n 3 h w"]) -> Float[Tensor, ""]:
        """Distance of two pictures in [0, 1], a mean over everything."""
        mean = rendered.new_tensor(MEAN_RGB)[:, None, None]
        x, y = 255 * rendered - mean, 255 * target - mean
        total = (x - y).abs().mean()
        for number in range(1, max(FEATURES) + 1):
            convolution = self.net[f"conv{number}"]
            x, y = convolution(x).relu(), convolution(y).relu()
            if number in FEATURES:
                total = total + FEATURES[number] * (x - y).abs().mean()
            if number in POOL_AFTER:
                x, y = nn.functional.avg_pool2d(x, 2), nn.functional.avg_pool2d(y, 2)
        return total / 255


def read_matconvnet(path: Path) -> dict[str, Tensor]:
    """`conv{1..16}.{weight,bias}` of matconvnet's imagenet-vgg-verydeep-19.mat; its kernels are [row, column, in, out].

    Raises:
        UserError: the file is something else.
    """
    from scipy.io import loadmat

    weights = {}
    try:
        layers = loadmat(path)["layers"][0]
        for number, index in enumerate(MATCONVNET_LAYERS, start=1):
            kernel, bias = layers[index][0][0][2][0]
            weights[f"conv{number}.weight"] = torch.from_numpy(kernel.astype(np.float32)).permute(3, 2, 0, 1)
            weights[f"conv{number}.bias"] = torch.from_numpy(bias.astype(np.float32)).flatten()
    except (OSError, ValueError, KeyError, IndexError, TypeError, AttributeError, NotImplementedError) as error:
        raise UserError(f"{path}: not matconvnet's VGG19 ({type(error).__name__}: {error}); copy it again") from error
    return weights


class LpipsDistance(nn.Module):
    """LPIPS (Zhang et al., CVPR 2018) as a loss: the frozen network of the lpips package."""

    def __init__(self, net: nn.Module) -> None:
        """`net` compares pictures in [-1, 1], one number per pair."""
        super().__init__()
        self.net = net.eval().requires_grad_(False)

    @staticmethod
    def pretrained() -> "LpipsDistance":
        """VGG16 features with the published linear layers; torchvision fetches the former once.

        Raises:
            UserError: lpips or torchvision is missing or does not fit torch, or the weights cannot be had.
        """
        missing = [name for name in ("lpips", "torchvision") if find_spec(name) is None]
        if missing:
            raise UserError(
                f"LPIPS needs {' and '.join(missing)}: pip install {' '.join(missing)}; or set lpips_loss_weight: 0"
            )
        try:
            import lpips

            return LpipsDistance(lpips.LPIPS(net="vgg", verbose=False))
        except (ImportError, RuntimeError) as error:
            raise UserError(
                f"LPIPS: torchvision does not fit this torch ({error}); install the torchvision of torch "
                f"{torch.__version__} from the same index, or set lpips_loss_weight: 0"
            ) from error
        except OSError as error:
            raise UserError(
                f"LPIPS: the weights of VGG16 cannot be fetched ({error}); put vgg16-397923af.pth into "
                f"{Path(torch.hub.get_dir()) / 'checkpoints'}, or set lpips_loss_weight: 0"
            ) from error

    def forward(self, rendered: Float[Tensor, "n 3 h w"], target: Float[Tensor, "n 3 h w"]) -> Float[Tensor, ""]:
        """Mean LPIPS of pictures in [0, 1]."""
        return self.net(2 * rendered - 1, 2 * target - 1).mean()

    def train(self, mode: bool = True) -> "LpipsDistance":
        """Stays in evaluation mode: its dropout would make the loss random."""
        return super().train(False)
