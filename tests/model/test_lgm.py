"""LGM against numbers of the published code, against its specification, and the laws it obeys."""

import json

import pytest
import torch
from helpers import FIXTURES, random_rotation
from lgm_helpers import Reference, in_published_order, lgm_config, published_case, random_maps, small_lgm
from model_helpers import random_views

from gslrm.config import ModelConfig
from gslrm.errors import UserError
from gslrm.model import build_model
from gslrm.model.lgm_unet import MVAttention, ResnetBlock, skip_widths
from gslrm.similarity import Similarity

RUNS = (pytest.param("b1", marks=pytest.mark.slow), "b2")  # one sample of 64 px, two of 32 px
FIELDS = ("means", "scales", "rotations", "opacities", "harmonics")
NO_GRADIENT = 1e-7  # share of the largest: biases before a norm of one channel per group have none, but rounding


@pytest.mark.parametrize("run", RUNS)
def test_raw_maps_and_gaussians_equal_those_of_the_published_code(run):
    model, case = published_case(run)
    with torch.no_grad():
        raw = model.forward_maps(case["input"])
        gaussians = model.decode(raw)
    torch.testing.assert_close(raw.flatten(0, 1), case["raw14"], atol=1e-5, rtol=0)
    torch.testing.assert_close(in_published_order(gaussians), case["gaussians"], atol=1e-4, rtol=0)


@pytest.mark.parametrize("run", RUNS)
def test_gradients_have_the_norms_of_the_published_code(run):
    model, case = published_case(run)
    raw = model.forward_maps(case["input"])
    torch.testing.assert_close(raw.detach().flatten(0, 1), case["raw14"], atol=3e-5, rtol=0)  # the fused attention's
    in_published_order(model.decode(raw)).square().mean().backward()
    floor = NO_GRADIENT * max(case["grad_norms"].values())
    for name, parameter in model.named_parameters():
        expected = case["grad_norms"][name]
        assert float(parameter.grad.norm()) == pytest.approx(expected, rel=1e-3, abs=floor), name


@pytest.mark.parametrize("run", RUNS)
def test_legacy_rotations_are_what_the_old_rasterizer_made_of_the_old_quaternions(run):
    """It read quaternions of norm 1 / sqrt(N) without normalising them, and so for matrices next to the identity."""
    model, case = published_case(run)
    w, x, y, z = case["rot_before_fix"].unbind(-1)
    model.config = lgm_config(legacy_rotation=True)
    gaussians = model.decode(torch.zeros(1, 4, 14, 8, 8))
    assert torch.equal(gaussians.rotations, torch.tensor([1.0, 0, 0, 0]).expand(1, 256, 4))
    off_diagonal = torch.stack([x * y - w * z, x * z + w * y, y * z - w * x])
    diagonal = torch.stack([y * y + z * z, x * x + z * z, x * x + y * y])
    matrix_less_identity = 2 * torch.cat([off_diagonal, diagonal])
    assert float(matrix_less_identity.abs().mean()) < 4 / w.shape[1]  # 6e-5 for the 65536 Gaussians of `big`


def test_legacy_rotation_changes_rotations_only_and_only_where_it_is_asked_for():
    raw = torch.randn(2, 3, 14, 4, 4, generator=torch.Generator().manual_seed(0))
    new, old = (small_lgm(legacy_rotation=legacy).decode(raw) for legacy in (False, True))
    for name in FIELDS:
        assert torch.equal(getattr(new, name), getattr(old, name)) == (name != "rotations")
    assert not build_model(lgm_config()).config.lgm.legacy_rotation


@pytest.mark.parametrize("shape", [(1, (16, 16)), (3, (8, 12)), (5, (16, 8))], ids=str)
def test_raw_maps_equal_the_specification_written_again(shape):
    views, size = shape
    model, images = small_lgm(), random_maps(1, views, size=size)
    with torch.no_grad():
        raw = model.forward_maps(images)[0]
    expected = Reference(model.state_dict(), model.config.lgm.shape).raw(images[0])
    assert raw.shape == (views, 14, size[0] // 2, size[1] // 2)
    torch.testing.assert_close(raw.double(), expected, atol=1e-5, rtol=1e-5)


def test_the_specification_written_again_holds_for_a_network_that_goes_all_the_way_up():
    full = {"up_channels": [64, 32, 32], "up_attention": [True, False, True], "down_attention": [True, False, True]}
    model, images = small_lgm(**full), random_maps(1, 2, size=(8, 8))
    with torch.no_grad():
        raw = model.forward_maps(images)[0]
    assert raw.shape == (2, 14, 8, 8)
    torch.testing.assert_close(
        raw.double(), Reference(model.state_dict(), model.config.lgm.shape).raw(images[0]), atol=1e-5, rtol=1e-5
    )


@pytest.mark.parametrize("preset", ["big", "tiny"])
def test_presets_have_the_published_keys_in_the_published_order(preset):
    with torch.device("meta"):
        state = build_model(ModelConfig.model_validate({"family": "lgm", "lgm": {"preset": preset}})).state_dict()
    published = json.loads((FIXTURES / f"lgm/key_shapes_{preset}.json").read_text())
    assert {key: list(value.shape) for key, value in state.items()} == published
    assert list(state) == list(published)


@pytest.mark.parametrize(
    ("preset", "parameters", "tensors", "reduction"),
    [
        ("big", 415_042_848, 376, 2),
        ("small", 412_958_240, 344, 4),
        ("lrm", 412_958_240, 344, 4),
        ("tiny", 59_743_360, 244, 4),
    ],
)
def test_presets_have_the_published_size(preset, parameters, tensors, reduction):
    with torch.device("meta"):
        model = build_model(ModelConfig.model_validate({"family": "lgm", "lgm": {"preset": preset}}))
    assert sum(value.numel() for value in model.parameters()) == parameters
    assert len(model.state_dict()) == tensors
    assert model.config.lgm.shape.reduction == reduction


def test_skips_of_big_have_the_published_widths():
    down = ModelConfig(family="lgm").lgm.shape.down_channels
    expected = [64] + [64] * 3 + [128] * 3 + [256] * 3 + [512] * 3 + [1024] * 3 + [1024] * 2
    assert skip_widths(down) == expected
    assert len(expected) == 18


@pytest.mark.parametrize("views", [4, 5, 6])
def test_a_sample_does_not_depend_on_the_others_of_its_batch(views):
    model, images = small_lgm().eval(), random_maps(2, views)
    other = torch.cat([images[:1], random_maps(1, views, seed=1)])
    with torch.no_grad():
        alone, together, beside = (model.forward_maps(given) for given in (images[:1], images, other))
    torch.testing.assert_close(together[:1], alone, atol=1e-6, rtol=0)
    torch.testing.assert_close(beside[:1], together[:1], atol=1e-6, rtol=0)
    assert (beside[1] - together[1]).abs().max() > 0.1


@pytest.mark.parametrize("views", [4, 6])
def test_every_view_hears_of_every_other(views):
    model, images = small_lgm().eval(), random_maps(1, views)
    for heard in range(views):
        changed = images.clone()
        changed[:, heard] = random_maps(1, 1, seed=9)[:, 0]
        with torch.no_grad():
            difference = (model.forward_maps(changed) - model.forward_maps(images)).abs().amax(dim=(0, 2, 3, 4))
        assert difference.min() > 1e-3


def test_permuting_the_views_permutes_the_maps_and_nothing_else():
    model, images = small_lgm().eval(), random_maps(1, 5)
    order = torch.tensor([3, 0, 4, 2, 1])
    with torch.no_grad():
        torch.testing.assert_close(
            model.forward_maps(images[:, order]), model.forward_maps(images)[:, order], atol=2e-5, rtol=1e-5
        )


def test_permuting_all_but_the_first_view_permutes_the_gaussians():
    """The first view's frame is the one that the network works in."""
    model, views = small_lgm().eval(), random_views(4)
    order = torch.tensor([0, 3, 1, 2])
    with torch.no_grad():
        straight, permuted = model(views), model(views[:, order])
    for name in FIELDS:
        per_view = getattr(straight, name).unflatten(1, (4, -1))[:, order].flatten(1, 2)
        torch.testing.assert_close(getattr(permuted, name), per_view, atol=1e-4, rtol=1e-4)


def test_turning_and_scaling_the_world_turns_and_scales_the_gaussians():
    model, views = small_lgm().eval(), random_views(4)
    moved = Similarity(torch.tensor(2.5).double(), random_rotation(3), torch.zeros(3).double())
    cameras = views.cameras[0].to(torch.float64).transform(moved).float()
    with torch.no_grad():
        straight = model(views).transform(moved)
        turned = model(type(views)(views.images, views.masks, cameras[None]))
    torch.testing.assert_close(turned.means, straight.means, atol=1e-3, rtol=1e-4)
    torch.testing.assert_close(turned.scales, straight.scales, atol=1e-4, rtol=1e-3)
    agreement = (turned.rotations * straight.rotations).sum(dim=-1).abs()
    assert agreement.min() > 1 - 1e-4


def test_positions_stay_in_the_box_of_the_first_cameras_frame():
    model, views = small_lgm().eval(), random_views(4, batch=2)
    model.conv.bias.data[:3] = torch.tensor([9.0, -9.0, 9.0])  # all at one corner
    with torch.no_grad():
        means = model(views).means
    for scene in range(2):
        first = views.cameras[scene, 0]
        unit = first.position.norm() / 1.5
        corner = torch.tensor([1.0, -1.0, 1.0]) - torch.tensor([0.0, 0.0, 1.5])  # from the camera; OpenGL axes
        expected = first.position + unit * first.world_from_camera[:3, :3] @ (corner * torch.tensor([1.0, -1.0, -1.0]))
        torch.testing.assert_close(means[scene], expected.expand_as(means[scene]), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("every", [1, 2, 3])
def test_recomputing_changes_no_gradient(every):
    gradients, calls = [], []
    for groups in (0, every):
        model = small_lgm().train()
        model.recompute_every(groups)
        ran: list[int] = []
        nets = [module for module in model.modules() if isinstance(module, ResnetBlock)]
        for net in nets:
            net.register_forward_pre_hook(lambda *_, ran=ran: ran.append(1))
        model.forward_maps(random_maps(1, 2)).square().mean().backward()
        gradients.append([parameter.grad for parameter in model.parameters()])
        calls.append(len(ran) / len(nets))
    assert calls == [1, 2]
    for kept, recomputed in zip(*gradients, strict=True):
        torch.testing.assert_close(recomputed, kept, atol=1e-6, rtol=1e-4)


def test_nothing_is_recomputed_outside_training():
    model, ran = small_lgm().eval(), []
    model.recompute_every(1)
    model.unet.mid_block.nets[0].register_forward_pre_hook(lambda *_: ran.append(1))
    model.forward_maps(random_maps(1, 2)).square().mean().backward()
    assert len(ran) == 1


def test_under_autocast_the_last_convolutions_and_activations_are_float32():
    model, seen = small_lgm().eval(), {}
    for name in ("unet.norm_out", "unet.conv_out", "conv", "unet.mid_block.nets.0.conv1"):
        keep = lambda _module, given, result, name=name: seen.update({name: (given[0].dtype, result.dtype)})  # noqa: E731
        model.get_submodule(name).register_forward_hook(keep)
    with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16):
        gaussians = model(random_views(4))
    assert seen.pop("unet.mid_block.nets.0.conv1")[1] == torch.bfloat16
    assert seen == dict.fromkeys(seen, (torch.float32, torch.float32))
    assert {getattr(gaussians, name).dtype for name in FIELDS} == {torch.float32}
    assert not torch.equal(gaussians.means, gaussians.means.bfloat16().float())


def test_both_ways_to_attend_agree():
    attention, tokens = MVAttention(64), torch.randn(6, 64, 16, 12, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        written_out = attention(tokens, 3)
    torch.testing.assert_close(attention(tokens, 3).detach(), written_out, atol=1e-6, rtol=1e-5)


def test_images_that_cannot_be_halved_are_refused():
    with pytest.raises(UserError, match="images of 18x16 cannot be halved to multiples of 4"):
        small_lgm()(random_views(2, size=(16, 18)))


@pytest.mark.parametrize("views", [1, 4])
def test_output_is_finite_at_extremes(views):
    model = small_lgm().eval()
    with torch.no_grad():
        for factor in (0.0, 1e4):
            gaussians = model.decode(model.forward_maps(factor * random_maps(1, views)))
            assert all(getattr(gaussians, name).isfinite().all() for name in FIELDS)
