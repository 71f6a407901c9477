"""Frozen networks that compare pictures by their features: FaceLift's VGG19 distance and LPIPS."""

from collections.abc import Mapping
from importlib.util import find_spec
from itertools import pairwise
from pathlib import Path

from jaxtyping import Float
from torch import Tensor, nn

from gslrm.errors import UserError
from gslrm.model.weights import read_state_dict

VGG_PREFIX = "loss_calculator.perceptual_loss_module.net."
CHANNELS = (64, 64, 128, 128, 256, 256, 256, 256, 512, 512, 512, 512, 512, 512, 512, 512)
POOL_AFTER = {2, 4, 8, 12}  # 1-based convolutions followed by 2x2 average pooling
FEATURES = {2: 1 / 2.6, 4: 1 / 4.8, 6: 1 / 3.7, 10: 1 / 5.6, 14: 10 / 1.5}  # convolution -> weight of its L1
MEAN_RGB = (123.68, 116.779, 103.939)  # matconvnet's, of 255, without division by a deviation


class VggDistance(nn.Module):
    """Weighted L1 of VGG19 features (matconvnet weights, average pooling), as FaceLift's GS-LRM trains with."""

    def __init__(self) -> None:
        super().__init__()
        pairs = pairwise((3, *CHANNELS))
        self.net = nn.ModuleDict({f"conv{k}": nn.Conv2d(a, b, 3, padding=1) for k, (a, b) in enumerate(pairs, start=1)})
        self.requires_grad_(False)

    @staticmethod
    def from_checkpoint(path: Path | None) -> "VggDistance":
        """The network with the weights that a FaceLift checkpoint carries.

        Raises:
            UserError: no file is configured, or it has no such weights.
        """
        if path is None:
            raise UserError(
                "training.losses.perceptual_loss_weight > 0 needs training.losses.perceptual_weights: a FaceLift "
                "GS-LRM checkpoint, which carries the VGG19 weights; or set the weight to 0"
            )
        weights = read_state_dict(path)
        return VggDistance().load(
            {k.removeprefix(VGG_PREFIX): v for k, v in weights.items() if k.startswith(VGG_PREFIX)}
        )

    def load(self, weights: Mapping[str, Tensor]) -> "VggDistance":
        """Set `conv{1..16}.{weight,bias}`; returns self.

        Raises:
            UserError: a tensor is missing or of another shape.
        """
        own = self.net.state_dict()
        wrong = [key for key in own if key not in weights or weights[key].shape != own[key].shape]
        if wrong:
            raise UserError(
                f"perceptual weights: {len(wrong)} of {len(own)} VGG19 tensors do not fit (first: {wrong[0]})"
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


class LpipsDistance(nn.Module):
    """LPIPS with VGG16 features from the lpips package (Zhang et al., CVPR 2018)."""

    def __init__(self) -> None:
        """Raises UserError when lpips or torchvision is not installed."""
        super().__init__()
        missing = [name for name in ("lpips", "torchvision") if find_spec(name) is None]
        if missing:
            raise UserError(
                f"LPIPS needs {' and '.join(missing)}: pip install {' '.join(missing)}; or set its weight to 0"
            )
        import lpips

        self.net = lpips.LPIPS(net="vgg", verbose=False).eval().requires_grad_(False)

    def forward(self, rendered: Float[Tensor, "n 3 h w"], target: Float[Tensor, "n 3 h w"]) -> Float[Tensor, ""]:
        """Mean LPIPS of pictures in [0, 1]."""
        return self.net(2 * rendered - 1, 2 * target - 1).mean()

    def train(self, mode: bool = True) -> "LpipsDistance":
        """Stays in evaluation mode: its dropout would make the loss random."""
        return super().train(False)
