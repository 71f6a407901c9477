import math
from pathlib import Path

import numpy as np
import pytest
import pytorch_msssim
import skimage.metrics
import torch

from gslrm import metrics
from gslrm.cameras import Cameras
from gslrm.types import Views

FACELIFT = Path(__file__).parent / "fixtures" / "facelift"


def noise(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed))


def box_mask(height: int, width: int, rows: slice, columns: slice) -> torch.Tensor:
    mask = torch.zeros(1, height, width)
    mask[:, rows, columns] = 1
    return mask


def ring(*degrees: float, radius: float = 3.0) -> Cameras:
    angle = torch.deg2rad(torch.tensor(degrees))
    position = radius * torch.stack([angle.cos(), angle.sin(), 0 * angle], dim=-1)
    focal = torch.full((len(degrees), 2), 50.0)
    up = torch.tensor([0.0, 0.0, 1.0])
    return Cameras.look_at(position, 0 * position, up, focal=focal, center=focal, height=32, width=32)


def test_psnr_and_ssim_agree_with_what_facelift_reports() -> None:
    case = {name: torch.from_numpy(array) for name, array in np.load(FACELIFT / "losses.npz").items() if array.ndim}
    rendering, target = case["rendering"], case["target_rgba"][:, :, :3]
    torch.testing.assert_close(metrics.psnr(rendering, target).float(), case["metric_psnr_clipped"], rtol=0, atol=1e-4)
    # theirs divides variances by 120 instead of 121: up to 3e-4 at this size
    torch.testing.assert_close(metrics.ssim(rendering, target), case["metric_ssim_skimage"], rtol=0, atol=3e-4)


def test_psnr_and_ssim_agree_with_skimage() -> None:
    target = noise(3, 40, 53)
    rendering = (target + 0.2 * noise(3, 40, 53, seed=1)).clamp(0, 1)
    expected = skimage.metrics.peak_signal_noise_ratio(target.numpy(), rendering.numpy(), data_range=1.0)
    assert metrics.psnr(rendering, target).item() == pytest.approx(expected, abs=1e-4)
    options = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False, "data_range": 1.0}
    expected = skimage.metrics.structural_similarity(target.numpy(), rendering.numpy(), channel_axis=0, **options)
    assert metrics.ssim(rendering, target).item() == pytest.approx(expected, abs=1e-5)


def test_a_known_error_has_its_psnr_and_only_where_it_lies() -> None:
    target = torch.full((3, 100, 100), 0.5)
    mask = box_mask(100, 100, slice(40, 60), slice(40, 60))
    rendering = target + 0.1 * mask
    assert metrics.psnr_foreground(rendering, target, mask).item() == pytest.approx(20, abs=1e-4)
    assert metrics.psnr(rendering, target).item() == pytest.approx(20 + 10 * math.log10(25), abs=1e-4)
    assert metrics.psnr_crop(rendering, target, mask).item() == pytest.approx(
        20 + 10 * math.log10(22**2 / 400), abs=1e-4
    )
    outside = target + 0.1 * (1 - mask)
    assert metrics.psnr_foreground(outside, target, mask).item() == metrics.MAX_PSNR


def test_renderings_are_clamped_as_their_files_would_be() -> None:
    target = torch.ones(3, 16, 16)
    assert metrics.psnr(target + 0.7, target).item() == metrics.MAX_PSNR


def test_identical_images_have_the_largest_scores() -> None:
    for image in (noise(3, 32, 32), torch.ones(3, 32, 32), torch.zeros(3, 32, 32)):
        mask = box_mask(32, 32, slice(3, 9), slice(5, 20))
        scores = metrics.score_view(image, mask, image, mask)
        decibels, shares = ("psnr", "psnr_fg", "psnr_crop"), ("ssim", "ssim_crop")
        silhouettes = ("mask_iou", "mask_precision", "mask_recall")
        colour = {"mask_iou_colour": metrics.colour_mask_iou(image, mask, torch.ones(3)).item()}
        assert scores == dict.fromkeys(decibels, 100.0) | dict.fromkeys([*shares, *silhouettes], 1.0) | colour


def test_scores_of_a_batch_are_those_of_its_images() -> None:
    rendering, target = noise(2, 3, 3, 40, 32), noise(2, 3, 3, 40, 32, seed=1)
    alpha = noise(2, 3, 1, 40, 32, seed=2)
    mask = torch.zeros(2, 3, 1, 40, 32)
    for i in range(6):
        mask[i // 3, i % 3, :, i : i + 20, 3 + i : 12 + 2 * i] = 1
    batch = {
        "psnr": metrics.psnr(rendering, target),
        "psnr_fg": metrics.psnr_foreground(rendering, target, mask),
        "psnr_crop": metrics.psnr_crop(rendering, target, mask),
        "ssim": metrics.ssim(rendering, target),
        "ssim_crop": metrics.ssim_crop(rendering, target, mask),
        "mask_iou": metrics.mask_iou(alpha, mask),
        "mask_precision": metrics.mask_precision(alpha, mask),
        "mask_recall": metrics.mask_recall(alpha, mask),
        "mask_iou_colour": metrics.colour_mask_iou(rendering, mask, torch.ones(3)),
    }
    for index in np.ndindex(2, 3):
        single = metrics.score_view(rendering[index], alpha[index], target[index], mask[index])
        assert {name: score[index].item() for name, score in batch.items()} == pytest.approx(single, abs=1e-5)


@pytest.mark.parametrize(
    ("rows", "columns", "expected"),
    [
        (slice(30, 70), slice(40, 60), (slice(28, 72), slice(39, 61))),  # a tenth larger, half on either side
        (slice(0, 40), slice(60, 100), (slice(0, 42), slice(58, 100))),  # cut at the border
        (slice(50, 53), slice(98, 100), (slice(46, 57), slice(89, 100))),  # room for a window of SSIM
        (slice(0, 1), slice(0, 100), (slice(0, 11), slice(0, 100))),
    ],
)
def test_crop_box(rows: slice, columns: slice, expected: tuple[slice, slice]) -> None:
    assert metrics.crop_box(box_mask(100, 100, rows, columns)) == expected


@pytest.mark.parametrize("size", [(11, 11), (11, 40), (64, 48)])
@pytest.mark.parametrize("touched", ["nothing", "a corner", "one pixel", "a box", "everything"])
def test_ssim_skips_windows_without_a_difference_and_equals_the_full_sum(size: tuple[int, int], touched: str) -> None:
    target = noise(3, *size)
    change = torch.zeros(1, *size)
    rows, columns = size
    areas = {
        "nothing": (slice(0), slice(0)),
        "a corner": (slice(rows - 1, rows), slice(columns - 1, columns)),
        "one pixel": (slice(rows // 2, rows // 2 + 1), slice(columns // 2, columns // 2 + 1)),
        "a box": (slice(2, rows // 2), slice(columns // 3, columns - 2)),
        "everything": (slice(None), slice(None)),
    }
    change[(slice(None), *areas[touched])] = 1
    rendering = target + change * 0.3 * (noise(3, *size, seed=1) - target)
    full = pytorch_msssim.ssim(rendering[None], target[None], data_range=1.0, size_average=False)
    torch.testing.assert_close(metrics.ssim(rendering, target), full[0], rtol=0, atol=2e-6)


def test_psnr_and_ssim_agree_with_torchmetrics() -> None:
    torchmetrics = pytest.importorskip("torchmetrics.functional.image")
    rendering, target = noise(2, 3, 40, 53), noise(2, 3, 40, 53, seed=1)
    options = {"data_range": 1.0, "reduction": "none"}
    expected = torchmetrics.peak_signal_noise_ratio(rendering, target, dim=(1, 2, 3), **options)
    torch.testing.assert_close(metrics.psnr(rendering, target).float(), expected, rtol=0, atol=1e-3)
    expected = torchmetrics.structural_similarity_index_measure(rendering, target, **options)
    torch.testing.assert_close(metrics.ssim(rendering, target), expected, rtol=0, atol=1e-3)


def test_ssim_ignores_half_precision_around_it() -> None:
    target = torch.ones(3, 64, 64)
    target[:, 20:30, 20:30] = 0.3
    rendering = target - 0.02 * noise(3, 64, 64)
    expected = metrics.ssim(rendering, target)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        torch.testing.assert_close(metrics.ssim(rendering, target), expected, rtol=0, atol=0)


def test_ssim_of_an_image_smaller_than_its_window_is_refused() -> None:
    with pytest.raises(ValueError, match="at least 11"):
        metrics.ssim(noise(3, 10, 40), noise(3, 10, 40))


@pytest.mark.parametrize("score", [metrics.psnr_foreground, metrics.psnr_crop, metrics.ssim_crop])
def test_an_empty_mask_is_refused_by_name(score) -> None:  # noqa: ANN001
    masks = torch.stack([box_mask(20, 20, slice(2, 5), slice(2, 5)), torch.full((1, 20, 20), 0.5)])
    with pytest.raises(ValueError, match=r"mask|foreground"):
        score(noise(2, 3, 20, 20), noise(2, 3, 20, 20), masks)
    with pytest.raises(ValueError, match=r"images \[1\]"):
        metrics.mask_iou(masks, masks)
    assert metrics.has_foreground(masks).tolist() == [True, False]


def test_a_view_without_foreground_scores_whole_images_only_and_averages_skip_it() -> None:
    image, mask = noise(3, 20, 20), box_mask(20, 20, slice(2, 18), slice(2, 18))
    scored = metrics.score_view(image, mask, image, mask)
    empty = metrics.score_view(image * 0, mask, image, 0 * mask)
    assert set(empty) == {"psnr", "ssim"}
    mean = metrics.average([scored, empty])
    assert mean["mask_iou"] == 1 and mean["psnr"] == pytest.approx((100 + empty["psnr"]) / 2)
    with pytest.raises(ValueError, match="no scores"):
        metrics.average([])


def test_white_paper_scores_well_in_psnr_only() -> None:
    """The baseline that shows which metrics mislead."""
    images, mask = torch.ones(1, 3, 64, 64), box_mask(64, 64, slice(20, 34), slice(20, 34))[None]
    images = images * (1 - mask) + 0.2 * mask
    target = Views(images, mask, ring(0.0))
    white = metrics.white_baseline(target)
    scores = metrics.score_view(white.rgb[0], white.alpha[0], images[0], mask[0])
    assert scores["psnr"] > 15 and scores["psnr_fg"] < 2 and scores["psnr_crop"] < 4 and scores["mask_iou"] == 0


def test_nearest_input_view_is_nearest_by_angle_whatever_the_distance() -> None:
    inputs = ring(0.0, 60.0, 120.0, 180.0, 240.0, 300.0)
    center = torch.zeros(3)
    assert metrics.nearest_input_view(ring(55.0, 355.0, 170.0, radius=0.5), inputs, center).tolist() == [1, 0, 3]
    beyond = torch.tensor([0.0, 2.9, 0.0])  # seen from there, directions differ from those seen from the origin
    moved = metrics.nearest_input_view(ring(95.0), inputs, beyond)
    angles = torch.nn.functional.cosine_similarity(inputs.position - beyond, ring(95.0).position - beyond, dim=-1)
    assert moved.item() == angles.argmax().item() != metrics.nearest_input_view(ring(85.0), inputs, center).item()
