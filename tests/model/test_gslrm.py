"""GS-LRM against numbers of the published code, and the laws it obeys."""

import json

import numpy as np
import pytest
import torch
from helpers import FIXTURES
from model_helpers import random_views, small_model

from gslrm.config import ModelConfig
from gslrm.errors import UserError
from gslrm.model import build_model
from gslrm.model.gaussian_head import embed_rays, patches_from_raster, pixel_means, raster_from_patches
from gslrm.model.weights import load_published
from gslrm.types import Cameras, Views

CASES = ("a", "b", "c")
LOOSE = {"atol": 2e-5, "rtol": 1e-5}


def load_case(name: str, **changes: object):
    z = np.load(FIXTURES / f"facelift/case_{name}.npz", allow_pickle=False)
    model = build_model(ModelConfig.model_validate(json.loads(str(z["config"]))["model"] | changes)).eval()
    report = load_published(model, {key[2:]: torch.from_numpy(z[key]) for key in z.files if key.startswith("w/")})
    assert report.share == 1
    return z, model, case_views(z)


def case_views(z) -> Views:
    image, intrinsics = torch.from_numpy(z["in/image"]), torch.from_numpy(z["in/fxfycxcy"])
    height, width = image.shape[-2:]
    cameras = Cameras(torch.from_numpy(z["in/c2w"]), intrinsics[..., :2], intrinsics[..., 2:], height, width)
    return Views(image[:, :, :3], torch.ones_like(image[:, :, :1]), cameras)


@pytest.mark.parametrize("name", CASES)
def test_gaussians_equal_those_of_the_published_code(name):
    z, model, views = load_case(name)
    with torch.no_grad():
        gaussians = model(views)
    np.testing.assert_allclose(gaussians.means, z["out/xyz"], **LOOSE)
    np.testing.assert_allclose(gaussians.scales, np.exp(z["out/scaling"]), **LOOSE)
    expected = torch.nn.functional.normalize(torch.from_numpy(z["out/rotation"]), dim=-1)
    np.testing.assert_allclose(gaussians.rotations, expected, **LOOSE)
    np.testing.assert_allclose(gaussians.opacities, torch.from_numpy(z["out/opacity"])[..., 0].sigmoid(), **LOOSE)
    np.testing.assert_allclose(gaussians.harmonics, z["out/features"], **LOOSE)


@pytest.mark.parametrize("name", CASES)
def test_tokens_equal_those_of_the_published_code(name):
    z, model, views = load_case(name)
    with torch.no_grad():
        tokens = model.embed(views)
        np.testing.assert_allclose(tokens, z["out/tok_after_input_norm"], **LOOSE)
        count = model.config.gaussians.n_gaussians
        np.testing.assert_allclose(model.transformer_layers(tokens)[:, count:], z["out/img_tokens"], **LOOSE)


def test_without_clipping_positions_are_what_the_shipped_yaml_gives():
    z, model, views = load_case("a", clip_xyz=False)
    with torch.no_grad():
        np.testing.assert_allclose(model(views).means, z["out/xyz_shipped_yaml_noclip"], **LOOSE)
    assert np.abs(z["out/xyz_shipped_yaml_noclip"][:, 2:]).max() > 1  # so the two variants differ


def test_gradients_equal_those_of_the_published_code():
    z, model, views = load_case("a")
    gaussians = model(views)
    count = gaussians.means.shape[1]
    raw = {  # the probes weigh stored values, so activations are undone
        "xyz": gaussians.means,
        "features": gaussians.harmonics,
        "scaling": gaussians.scales.log(),
        "opacity": torch.logit(gaussians.opacities)[..., None],
    }
    scalar = sum((value * torch.from_numpy(z[f"probe/{name}"])).sum() for name, value in raw.items()) / count
    tokens = model.transformer_layers(model.embed(views))
    globals_raw = model.gaussian_upsampler(tokens[:, : model.config.gaussians.n_gaussians])
    pixels_raw = model.pixel_gaussian_decoder(tokens[:, model.config.gaussians.n_gaussians :])
    rotation = torch.cat([globals_raw, pixels_raw.unflatten(-1, (64, -1)).flatten(1, 2)], dim=1)[..., -5:-1]
    scalar = scalar + (rotation * torch.from_numpy(z["probe/rotation"])).sum() / count
    np.testing.assert_allclose(float(scalar.detach()), z["probe/scalar"], rtol=1e-4)
    scalar.backward()
    for name, parameter in model.named_parameters():
        expected = z[f"grad/{name}"]
        limit = 1e-5 + 1e-4 * np.abs(expected).max()
        np.testing.assert_allclose(parameter.grad, expected, atol=limit, rtol=0, err_msg=name)


def test_ray_embeddings_equal_those_of_the_published_code():
    z = np.load(FIXTURES / "facelift/rays_plucker.npz")
    intrinsics, (height, width) = torch.from_numpy(z["fxfycxcy"]), z["hw"].tolist()
    cameras = Cameras(torch.from_numpy(z["c2w"]), intrinsics[..., :2], intrinsics[..., 2:], height, width)
    aug = {"use_custom_plucker": False, "use_aug_plucker": True, "image_tokenizer": {"in_channels": 12}}
    variants = {"custom": {}, "aug": aug, "classic": {"use_custom_plucker": False}}
    for name, settings in variants.items():
        rays = embed_rays(cameras, ModelConfig.model_validate(settings))
        np.testing.assert_allclose(rays, z[f"posed_{name}"][:, :, 3:], atol=2e-6, rtol=1e-6, err_msg=name)


def test_depth_decoding_equals_the_published_code_in_every_variant():
    z = np.load(FIXTURES / "facelift/rays_plucker.npz")
    intrinsics, (height, width) = torch.from_numpy(z["fxfycxcy"]), z["hw"].tolist()
    cameras = Cameras(torch.from_numpy(z["c2w"]), intrinsics[..., :2], intrinsics[..., 2:], height, width)
    raw = torch.from_numpy(z["depth_raw_xyz"]).movedim(2, -1)
    classic = {"use_custom_plucker": False}
    variants = {
        "custom": {},
        "custom_clip": {"clip_xyz": True},
        "custom_bias": {"depth_preact_bias": -0.4},
        "default": classic,
        "minmax": classic | {"depth_min": 0.5, "depth_max": 4.0},
        "reforigin": classic | {"depth_reference_origin": True},
    }
    for name, settings in variants.items():
        means = pixel_means(raw, cameras, ModelConfig.model_validate(settings)).movedim(-1, 2)
        np.testing.assert_allclose(means, z[f"aligned_{name}"], atol=2e-6, rtol=1e-6, err_msg=name)


def test_the_released_architecture_has_the_released_keys_in_the_released_order():
    with torch.device("meta"):
        model = build_model(ModelConfig())
    published = json.loads((FIXTURES / "facelift/key_shapes_released.json").read_text())["state_dict"]
    core = {key: tuple(shape) for key, shape in published.items() if not key.startswith("loss_calculator.")}
    assert {key: tuple(value.shape) for key, value in model.state_dict().items()} == core
    assert list(model.state_dict()) == list(core)
    assert sum(parameter.numel() for parameter in model.parameters()) == 303_565_824


def test_permuting_the_views_permutes_the_gaussians_and_nothing_else():
    model, views = small_model().eval(), random_views(4)
    order = torch.tensor([2, 0, 3, 1])
    with torch.no_grad():
        straight, permuted = model(views), model(views[:, order])
    count = model.config.gaussians.n_gaussians
    for name in ("means", "scales", "rotations", "opacities", "harmonics"):
        a, b = getattr(straight, name), getattr(permuted, name)
        torch.testing.assert_close(b[:, :count], a[:, :count], atol=1e-5, rtol=1e-5)
        per_view = a[:, count:].unflatten(1, (4, -1))[:, order].flatten(1, 2)
        torch.testing.assert_close(b[:, count:], per_view, atol=1e-5, rtol=1e-5)


def test_the_reference_marker_makes_the_first_view_special():
    model, views = small_model(add_refsrc_marker=True).eval(), random_views(3)
    with torch.no_grad():
        torch.nn.init.normal_(model.view_type_embeddings)
        first, swapped, rotated = model(views), model(views[:, [1, 0, 2]]), model(views[:, [0, 2, 1]])
    assert (first.means[:, :2] - swapped.means[:, :2]).abs().max() > 1e-3
    torch.testing.assert_close(first.means[:, :2], rotated.means[:, :2], atol=1e-5, rtol=1e-5)


def test_patch_order_and_raster_order_are_inverse():
    images = torch.arange(2 * 16 * 24 * 2, dtype=torch.float32).reshape(1, 2, 16, 24, 2)
    patches = patches_from_raster(images, patch=8)
    torch.testing.assert_close(raster_from_patches(patches, views=2, height=16, width=24, patch=8), images)
    assert patches[0, 1].tolist() == images[0, 0, 0, 1].tolist()  # next pixel of the first patch
    assert patches[0, 64].tolist() == images[0, 0, 0, 8].tolist()  # first pixel of the second patch


def test_images_need_not_be_square_and_every_pixel_gaussian_lies_on_its_ray():
    model, views = small_model().eval(), random_views(2, size=(16, 24), batch=2)
    with torch.no_grad():
        gaussians = model(views)
    assert gaussians.means.shape == (2, 2 + 2 * 16 * 24, 3)
    raster = raster_from_patches(gaussians.means[:, 2:], views=2, height=16, width=24, patch=8)
    pixel, _ = views.cameras.project(raster.flatten(2, 3))
    torch.testing.assert_close(pixel, views.cameras.pixel_grid().flatten(0, 1).expand_as(pixel), atol=2e-3, rtol=0)


def test_images_that_are_not_whole_patches_are_refused():
    with pytest.raises(UserError, match="whole patches"):
        small_model()(random_views(2, size=(16, 20)))


@pytest.mark.parametrize("degree", range(4))
def test_every_degree_of_colour_decodes(degree):
    gaussians = small_model(gaussians={"sh_degree": degree})(random_views(2))
    assert gaussians.harmonics.shape[-2:] == ((degree + 1) ** 2, 3)


def test_recomputed_activations_give_the_same_gradients_and_only_while_training():
    views, gradients = random_views(2), []
    for every in (0, 1, 2):
        model = small_model()
        model.recompute_every(every)
        model(views).means.sum().backward()
        gradients.append([parameter.grad for parameter in model.parameters() if parameter.grad is not None])
    for other in gradients[1:]:
        for a, b in zip(gradients[0], other, strict=True):
            torch.testing.assert_close(a, b)
    model.eval()
    with torch.no_grad():
        assert not model(views).means.requires_grad


def test_rays_and_decoding_stay_in_float32_under_autocast():
    model, views = small_model().eval(), random_views(2)
    with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16):
        gaussians = model(views)
    assert gaussians.means.dtype == gaussians.opacities.dtype == torch.float32
    raster = raster_from_patches(gaussians.means[:, 2:], views=2, height=16, width=16, patch=8)
    pixel, _ = views.cameras.project(raster.flatten(2, 3))
    torch.testing.assert_close(pixel, views.cameras.pixel_grid().flatten(0, 1).expand_as(pixel), atol=2e-3, rtol=0)


def test_a_batch_is_its_samples():
    model, views = small_model().eval(), random_views(3, batch=2)
    with torch.no_grad():
        together = model(views)
        apart = [model(views[index : index + 1]) for index in range(2)]
    for index in range(2):
        torch.testing.assert_close(together.means[index], apart[index].means[0], atol=1e-5, rtol=1e-5)
