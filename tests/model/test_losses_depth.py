"""Terms of true depth: zero on the surface, the distance beside it, and blind to what is not known."""

from dataclasses import replace

import pytest
import torch
from loss_helpers import ball_scene, changed
from model_helpers import ball_views, small_model

from gslrm.config import LossesConfig, ModelConfig, ScheduleConfig
from gslrm.config_io import config_from_mapping
from gslrm.errors import UserError
from gslrm.model import loss_depth
from gslrm.model.comparison import Comparison, compare
from gslrm.model.gaussian_head import patches_from_raster
from gslrm.model.utils_losses import Losses
from gslrm.tensor_struct import stack
from gslrm.types import Batch, Rendering, Views

PATCH = 8
PLAIN = ModelConfig.model_validate({"image_tokenizer": {"image_size": 32, "patch_size": PATCH}})
HULL = {
    "depth_anchor": "corrected_hull", "drop_background": True, "depth_range": 0.25,
    "image_tokenizer": {"image_size": 32, "patch_size": PATCH}, "gaussians": {"n_gaussians": 2},
    "hull": {"inner": True},
}  # fmt: skip
SHIFT = 0.05
JITTERED = {"camera_jitter": 0.5}


def known(c: Comparison, depths: torch.Tensor) -> Comparison:
    """The comparison with depth maps [v, 1, h, w] of its views, which are inputs and targets."""
    views = replace(c.batch.target, depths=depths[None])
    return changed(c, batch=replace(c.batch, input=views, target=views))


@pytest.fixture(scope="module")
def ball() -> Comparison:
    c = ball_scene()
    return known(c, c.depth)


def behind(c: Comparison, shift: float) -> torch.Tensor:
    """Pixel Gaussians `shift` behind the true surface, along each camera's axis; two global ones come first."""
    cameras = c.inputs.cameras
    origin, direction = cameras.rays()
    axis = cameras.world_from_camera[..., None, None, :3, 2]
    z = c.inputs.depths[:, :, 0] + shift
    points = origin + (z / (direction * axis).sum(-1))[..., None] * direction
    pixels = patches_from_raster(points, patch=PATCH)
    return torch.cat([torch.full_like(pixels[:, :2], 7.0), pixels], dim=1)


def test_rendered_depth_is_compared_with_the_maps_where_they_say_something(ball):
    assert loss_depth.mapped(ball) == 0
    torch.testing.assert_close(loss_depth.mapped(changed(ball, depth=ball.depth + SHIFT)), torch.tensor(SHIFT).double())
    unknown = known(ball, torch.where(torch.arange(6)[:, None, None, None] < 3, 0, ball.depth))
    spoiled = torch.cat([ball.depth[:3] + 9, ball.depth[3:]])
    assert loss_depth.mapped(changed(unknown, depth=spoiled)) == 0


def test_rendered_depth_counts_by_alpha_and_does_not_pull_at_it(ball):
    wrong = changed(ball, depth=ball.depth + SHIFT, alpha=(0.5 * ball.alpha).requires_grad_())
    value = loss_depth.mapped(wrong)
    torch.testing.assert_close(value, torch.tensor(SHIFT).double())
    assert not value.requires_grad


@pytest.mark.parametrize("shift", [0.0, SHIFT, -SHIFT])
def test_pixel_gaussians_are_compared_with_the_maps_of_their_own_pixels(ball, shift):
    placed = changed(ball, gaussians=replace(ball.gaussians, means=behind(ball, shift)))
    torch.testing.assert_close(
        loss_depth.pixel(placed, model=PLAIN), torch.tensor(abs(shift)).double(), atol=1e-9, rtol=0
    )


def test_the_derivative_of_pixel_depth_is_that_of_its_value(ball):
    start = behind(ball, SHIFT).requires_grad_()
    moved = lambda means: changed(ball, gaussians=replace(ball.gaussians, means=means))  # noqa: E731
    assert torch.autograd.gradcheck(lambda means: loss_depth.pixel(moved(means), model=PLAIN), start, fast_mode=True)


@pytest.fixture(scope="module")
def hull() -> tuple[Comparison, ModelConfig]:
    """The untrained hulls of two balls, the second smaller, with their true depths."""
    model = small_model(**HULL).eval()
    views = stack([with_true_depths(ball_views(6, radius=radius, size=32), radius) for radius in (0.3, 0.2)])
    with torch.no_grad():
        gaussians = model(views)
    index = torch.arange(6).repeat(2, 1)
    rendering = Rendering(views.images, views.masks, views.depths)
    return compare(gaussians, rendering, Batch(views, views, index, index, torch.ones(2, 3), ("a", "b"))), model.config


def with_true_depths(views: Views, radius: float) -> Views:
    """Views [6] of a ball at the origin."""
    origin, direction = views.cameras.rays()
    along = -(origin * direction).sum(-1)
    miss = (origin + along[..., None] * direction).square().sum(-1)
    axis = views.cameras.world_from_camera[:, None, None, :3, 2]
    z = (along - (radius**2 - miss).clamp_min(0).sqrt()) * (direction * axis).sum(-1)
    return replace(views, depths=(z * (views.masks[:, 0] > 0.5))[:, None])


def test_of_a_hull_models_gaussians_the_first_of_each_pixel_count_and_no_others(hull):
    c, config = hull
    start = loss_depth.pixel(c, model=config)
    assert 0 < start < 0.05  # at the hull, which is that of a ball all but exactly
    counts = (c.inputs.masks[:, :, 0] > config.hull.covered).flatten(1).sum(dim=1).tolist()
    assert counts[0] > counts[1] > 0
    for scene, count in enumerate(counts):
        for part, counted in ((slice(0, 2), False), (slice(2, 2 + count), True), (slice(2 + count, None), False)):
            means = c.gaussians.means.clone()
            means[scene, part] += 1.0
            value = loss_depth.pixel(changed(c, gaussians=replace(c.gaussians, means=means)), model=config)
            assert (value > start + 0.1) == counted, (scene, part)


def test_a_batch_without_depths_is_a_mistake_of_the_program():
    with pytest.raises(ValueError, match="depths=True"):
        loss_depth.mapped(ball_scene())
    with pytest.raises(ValueError, match="depths=True"):
        loss_depth.pixel(ball_scene(), model=PLAIN)


def test_the_terms_are_those_of_the_configuration(ball):
    weights = {"l2_loss_weight": 0.0, "depth_loss_weight": 0.5, "depth_target": "maps", "pixel_depth_loss_weight": 2.0}
    losses = Losses(LossesConfig(**weights), ScheduleConfig(), model=PLAIN)
    means = behind(ball, SHIFT)
    gaussians = replace(ball.gaussians, means=means)
    rendering = Rendering(ball.rendered[None], ball.alpha[None], ball.depth[None] + SHIFT)
    report = losses(gaussians, rendering, ball.batch, step=0)
    torch.testing.assert_close(report.total, torch.tensor(0.5 * SHIFT + 2.0 * SHIFT), atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"training": {"losses": {"depth_target": "maps"}}}, "depth_target maps needs depth_loss_weight"),
        (
            {"model": {"family": "lgm"}, "training": {"losses": {"pixel_depth_loss_weight": 1.0}}},
            "pixel_depth_loss_weight is for pixel Gaussians",
        ),
        (
            {
                "training": {
                    "losses": {"pixel_depth_loss_weight": 1.0},
                    "dataset": {"augment": {"grid_distortion": 0.5}},
                }
            },
            "pixel_depth_loss_weight .*dataset.augment",
        ),
    ],
)
def test_terms_that_could_say_nothing_are_refused(content, message):
    with pytest.raises(UserError, match=message):
        config_from_mapping(content, source="test")
