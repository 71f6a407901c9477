"""Silhouette and depth scores: pixels counted by hand, and the masks at which they are undefined."""

import pytest
import torch

from gslrm import metrics
from gslrm.metrics.depth import has_depth
from gslrm.types import Rendering

WHITE = torch.ones(3)


def box_mask(height: int, width: int, rows: slice, columns: slice) -> torch.Tensor:
    mask = torch.zeros(1, height, width)
    mask[:, rows, columns] = 1
    return mask


def test_mask_iou_counts_pixels() -> None:
    mask = box_mask(20, 20, slice(0, 10), slice(0, 10))
    shifted = box_mask(20, 20, slice(0, 10), slice(5, 15))
    assert metrics.mask_iou(0.9 * shifted, mask).item() == pytest.approx(50 / 150)
    assert metrics.mask_iou(0.4 * mask, mask).item() == 0


def test_mask_from_colour_is_the_mean_distance_to_the_background() -> None:
    mask = box_mask(20, 20, slice(0, 10), slice(0, 10))
    rendering = torch.stack([1 - 0.31 * mask[0], torch.ones(20, 20), torch.ones(20, 20)])  # mean distance 0.103
    white = torch.ones(3)
    assert metrics.colour_mask_iou(rendering, mask, white).item() == 1
    assert metrics.colour_mask_iou(rendering, mask, white, threshold=0.11).item() == 0
    assert metrics.colour_mask_iou(rendering, mask, torch.zeros(3)).item() == pytest.approx(100 / 400)
    both = metrics.colour_mask_iou(
        rendering.expand(2, 4, 3, 20, 20), mask.expand(2, 4, 1, 20, 20), torch.stack([white, 0 * white])[:, None]
    )
    assert both.tolist() == [[1.0] * 4, [0.25] * 4]


def test_precision_and_recall_tell_a_swollen_silhouette_from_a_shrunken_one() -> None:
    mask = box_mask(20, 20, slice(5, 15), slice(5, 15))
    swollen, shrunken = box_mask(20, 20, slice(0, 20), slice(0, 20)), box_mask(20, 20, slice(5, 10), slice(5, 15))
    assert metrics.mask_precision(swollen, mask).item() == 100 / 400 and metrics.mask_recall(swollen, mask).item() == 1
    assert metrics.mask_precision(shrunken, mask).item() == 1 and metrics.mask_recall(shrunken, mask).item() == 0.5
    nothing = torch.zeros_like(mask)
    assert metrics.mask_precision(nothing, mask).item() == metrics.mask_recall(nothing, mask).item() == 0


def scores_of(mask: torch.Tensor, error: torch.Tensor) -> dict[str, float]:
    target = torch.full((3, *mask.shape[-2:]), 0.4)
    return metrics.score_view(target + error, mask, target, mask)


def test_with_an_empty_mask_the_masked_scores_are_left_out_and_nothing_is_nan() -> None:
    scores = scores_of(torch.zeros(1, 32, 32), 0.1 * torch.ones(1, 32, 32))
    assert scores == pytest.approx({"psnr": 20.0, "ssim": scores["ssim"]}, abs=1e-4)


def test_with_a_full_mask_foreground_crop_and_whole_image_are_the_same() -> None:
    scores = scores_of(torch.ones(1, 32, 32), 0.1 * torch.ones(1, 32, 32))
    assert scores["psnr"] == pytest.approx(20, abs=1e-4)
    assert scores["psnr"] == scores["psnr_fg"] == scores["psnr_crop"]
    assert scores["ssim"] == scores["ssim_crop"]
    assert scores["mask_iou"] == scores["mask_precision"] == scores["mask_recall"] == 1


def test_with_a_mask_of_one_pixel_its_error_counts_alone_and_the_crop_is_one_window() -> None:
    mask = box_mask(32, 32, slice(10, 11), slice(20, 21))
    scores = scores_of(mask, 0.1 * mask)
    assert scores["psnr_fg"] == pytest.approx(20, abs=1e-4)
    assert scores["psnr_crop"] == pytest.approx(20 + 10 * torch.tensor(121.0).log10().item(), abs=1e-4)
    assert scores["psnr"] == pytest.approx(20 + 10 * torch.tensor(1024.0).log10().item(), abs=1e-4)
    assert scores["mask_iou"] == 1


def test_a_distance_of_pictures_is_scored_when_there_is_one() -> None:
    mask = box_mask(32, 32, slice(3, 9), slice(3, 9))
    image = torch.full((3, 32, 32), 0.4)
    scores = metrics.score_view(1.7 + image, mask, image, mask, perceptual=lambda a, b: (a - b).abs().mean())
    assert scores["lpips"] == pytest.approx(0.6)  # clamped as its file would be


# Depth


def test_depth_error_is_the_median_over_pixels_that_have_both() -> None:
    truth = torch.full((1, 4, 5), 200.0)
    truth[:, 0] = 0  # background
    alpha = torch.ones(1, 4, 5)
    alpha[:, 1] = 0.5  # not rendered
    depth = truth.clone()
    depth[:, 0] = 1e6
    depth[:, 2:] += torch.arange(10.0).reshape(2, 5)
    assert metrics.depth_error(depth, alpha, truth).item() == 4.5
    assert metrics.depth_within(depth, alpha, truth).item() == 5 / 15  # 2 % are 4 mm; the hole counts as a miss
    assert metrics.depth_within(depth, alpha, truth, share=0.0).item() == 1 / 15


def test_depth_scores_of_a_batch_are_those_of_its_images() -> None:
    generator = torch.Generator().manual_seed(0)
    truth = 200 + 10 * torch.rand(2, 3, 1, 6, 7, generator=generator)
    depth, alpha = (
        truth + 8 * torch.rand(truth.shape, generator=generator),
        torch.rand(truth.shape, generator=generator),
    )
    error, within = metrics.depth_error(depth, alpha, truth), metrics.depth_within(depth, alpha, truth)
    for i in range(2):
        for j in range(3):
            assert error[i, j] == metrics.depth_error(depth[i, j], alpha[i, j], truth[i, j])
            assert within[i, j] == metrics.depth_within(depth[i, j], alpha[i, j], truth[i, j])


def test_depth_without_truth_or_without_a_rendering_is_left_out_or_zero_but_never_nan() -> None:
    truth, empty = torch.full((1, 1, 4, 5), 200.0), torch.zeros(1, 1, 4, 5)
    picture = torch.zeros(1, 3, 4, 5)
    assert metrics.score_depth(Rendering(picture, truth * 0 + 1, truth), empty) == {}
    assert metrics.score_depth(Rendering(picture, empty, empty), truth) == {"depth_within": 0.0}
    assert metrics.score_depth(Rendering(picture, truth * 0 + 1, truth), truth) == {
        "depth_within": 1.0,
        "depth_error": 0.0,
    }
    assert not has_depth(empty, truth).any()
    with pytest.raises(ValueError, match="has_depth"):
        metrics.depth_error(truth, empty, truth)
    with pytest.raises(ValueError, match="no true depth"):
        metrics.depth_within(truth, truth, empty)
