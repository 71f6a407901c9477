"""What runs in which precision: the transformer in the chosen type, everything that decides geometry in float32."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from training_helpers import lines, settings

from gslrm.cameras import Cameras
from gslrm.config import RuntimeConfig
from gslrm.config_io import config_from_mapping
from gslrm.data import load_batches
from gslrm.errors import UserError
from gslrm.exact import exact_float32
from gslrm.model import gslrm as network
from gslrm.model.blocks import SelfAttention
from gslrm.model.utils_losses import Losses
from gslrm.render import BatchRasterizer
from gslrm.tensor_struct import TensorStruct
from gslrm.training.runtime import Runtime, build_runtime, native_amp_dtype
from gslrm.training.trainer import Trainer

CPU = torch.device("cpu")
HALVES = pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=["bf16", "fp16"])
MODELS = pytest.mark.parametrize(
    "model",
    [{}, {"drop_background": True, "depth_anchor": "hull"}, {"use_custom_plucker": True}],
    ids=["plain", "from the hull", "custom rays"],
)


@pytest.fixture
def tf32():
    """As `use_tf32` sets it on a card; it has no effect here but to be seen."""
    before = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = True
    yield
    torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = before


def trainer_of(samples: Path, folder: Path, dtype: torch.dtype | None, model: dict, **training: Any) -> Trainer:
    """A run in a type, also in float16, which users are refused on a CPU because it is slow there."""
    mapping = settings(samples, losses={"ssim_loss_weight": 0.1, "alpha_loss_weight": 0.3}, **training)
    config = config_from_mapping(mapping | {"model": mapping["model"] | model}, source="test")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("gslrm.reconstruct.build_runtime", lambda config: Runtime(CPU, dtype))
        return Trainer(config, folder)


def tensors(value: Any) -> list[Tensor]:
    found: list[Tensor] = []
    if isinstance(value, Tensor):
        found.append(value)
    elif isinstance(value, TensorStruct):
        value.map(lambda tensor: found.append(tensor) or tensor)
    elif isinstance(value, tuple | list):
        found = [tensor for part in value for tensor in tensors(part)]
    elif hasattr(value, "__dataclass_fields__"):
        found = tensors([getattr(value, name) for name in value.__dataclass_fields__])
    return found


class Seams:
    """Notes types, and whether lower precision was allowed, wherever one room hands over to the next."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.patch = patch
        self.types: dict[str, set[torch.dtype]] = {}
        self.lowered: dict[str, set[bool]] = {}

    def watch(self, owner: Any, name: str, *, results: bool = False) -> None:
        """Note what a function is given, or what it returns."""
        real: Callable[..., Any] = getattr(owner, name)

        def watching(*args: Any, **kwargs: Any) -> Any:
            allowed = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
            result = real(*args, **kwargs)
            seen = tensors(result) if results else tensors([*args, *kwargs.values()])
            self.types.setdefault(name, set()).update(t.dtype for t in seen if t.is_floating_point())
            self.lowered.setdefault(name, set()).update({torch.is_autocast_enabled("cpu"), *allowed})
            return result

        self.patch.setattr(owner, name, watching)


def watch_everything(trainer: Trainer, patch: pytest.MonkeyPatch) -> Seams:
    seams = Seams(patch)
    seams.watch(Cameras, "rays", results=True)
    seams.watch(network, "embed_rays", results=True)
    seams.watch(network, "global_gaussians")
    seams.watch(network, "pixel_gaussians")
    rasterizer = trainer.reconstructor.rasterizer
    assert isinstance(rasterizer, BatchRasterizer)
    real = rasterizer.rasterization
    holder = type("Holder", (), {"rasterization": staticmethod(real)})
    seams.watch(holder, "rasterization")
    object.__setattr__(rasterizer, "rasterization", holder.rasterization)
    for name, term in list(trainer.losses.terms.items()):
        place = type("Place", (), {name: staticmethod(term.function)})
        seams.watch(place, name)
        object.__setattr__(term, "function", getattr(place, name))
    seams.watch(SelfAttention, "forward", results=True)
    return seams


def first_batch(trainer: Trainer) -> Any:
    (batch,) = load_batches(trainer.dataset, trainer.config, start=0, stop=1)
    return batch


@HALVES
@MODELS
def test_rays_decoding_rendering_and_losses_are_float32_while_the_transformer_is_not(
    samples, tmp_path, monkeypatch, tf32, dtype, model
):
    trainer = trainer_of(samples, tmp_path, dtype, model)
    batch = first_batch(trainer)
    seams = watch_everything(trainer, monkeypatch)
    trainer.model.train()
    trainer.step(batch)
    assert seams.types.pop("forward") == {dtype}
    assert seams.lowered.pop("forward") == {True}
    losses = {"l2_loss", "ssim_loss", "alpha_loss"}
    places = {"rays", "embed_rays", "global_gaussians", "pixel_gaussians", "rasterization", *losses}
    assert seams.types == dict.fromkeys(places, {torch.float32})
    assert seams.lowered == dict.fromkeys(places, {False})


@HALVES
@MODELS
def test_rays_and_gradients_that_reach_the_weights_keep_their_precision(samples, tmp_path, dtype, model):
    trainer = trainer_of(samples, tmp_path, dtype, model)
    views = first_batch(trainer).input
    rays = network.embed_rays(views.cameras.float(), trainer.config.model)
    seen = []
    trainer.model.patch_embedder.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
    with trainer.runtime.autocast():
        trainer.model(views)
    posed = torch.cat([2 * views.images - 1, rays], dim=2)
    assert torch.equal(seen[0], network.patchify(posed, patch=trainer.config.model.image_tokenizer.patch_size))
    report, _ = trainer.step(first_batch(trainer))
    trainer.update.backward(report.total)
    assert {p.grad.dtype for p in trainer.model.parameters() if p.grad is not None} == {torch.float32}
    assert {p.dtype for p in trainer.model.parameters()} == {torch.float32}


@pytest.mark.parametrize("model", [{}, {"drop_background": True, "depth_anchor": "hull"}], ids=["plain", "hull"])
def test_a_lower_precision_trains_as_float32_does(samples, tmp_path, model):
    """Means of three epochs each; at four times the rate runs part for good, whatever they are computed in."""
    curves = {}
    for name, dtype in (("fp32", None), ("bf16", torch.bfloat16), ("fp16", torch.float16)):
        (tmp_path / name).mkdir()
        trainer = trainer_of(
            samples, tmp_path / name, dtype, model,
            runtime={"grad_accum_steps": 1}, schedule={"max_fwdbwd_passes": 18, "warmup": 2}, optimizer={"lr": 5e-4},
        )  # fmt: skip
        trainer.run()
        assert trainer.position.skips.total == 0
        losses = torch.tensor([line["train/loss"] for line in lines(tmp_path / name)])
        curves[name] = losses.unflatten(0, (2, 9)).mean(dim=1)
    assert curves["fp32"][-1] < 0.9 * curves["fp32"][0]
    for name in ("bf16", "fp16"):
        torch.testing.assert_close(curves[name], curves["fp32"], rtol=0.02, atol=0)


@pytest.mark.parametrize("wanted", [True, False])
def test_the_exact_context_gives_everything_back_as_it_was(tf32, wanted):
    torch.backends.cuda.matmul.allow_tf32 = wanted
    a = torch.rand(3, 3, generator=torch.Generator().manual_seed(0))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        with pytest.raises(RuntimeError, match="inside"), exact_float32("cpu"):
            assert not torch.backends.cuda.matmul.allow_tf32
            assert not torch.backends.cudnn.allow_tf32
            assert (a @ a).dtype == torch.float32
            raise RuntimeError("inside")
        assert (a @ a).dtype == torch.bfloat16
    assert torch.backends.cuda.matmul.allow_tf32 == wanted
    assert torch.backends.cudnn.allow_tf32


@pytest.mark.parametrize(
    ("amp_dtype", "use_amp", "expected"),
    [("bf16", True, torch.bfloat16), ("fp32", True, None), ("bf16", False, None), ("fp16", False, None)],
)
def test_the_type_is_the_one_asked_for_and_only_float16_is_scaled(amp_dtype, use_amp, expected):
    runtime = build_runtime(RuntimeConfig(device="cpu", amp_dtype=amp_dtype, use_amp=use_amp))
    assert runtime.amp_dtype == expected
    assert not runtime.needs_scaler
    assert Runtime(CPU, torch.float16).needs_scaler


def test_float16_on_a_cpu_is_refused_with_what_to_use_instead():
    with pytest.raises(UserError, match="amp_dtype is fp16, which needs CUDA.*amp_dtype=auto"):
        build_runtime(RuntimeConfig(device="cpu", amp_dtype="fp16"))


@pytest.mark.parametrize(("native", "expected"), [(True, torch.bfloat16), (False, None)])
def test_auto_takes_bfloat16_where_the_device_multiplies_it_natively_and_float32_elsewhere(
    monkeypatch, native, expected
):
    for name in ("_is_avx512_bf16_supported", "_is_amx_tile_supported"):
        monkeypatch.setattr(torch.cpu, name, lambda: native)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: native and not including_emulation)
    assert build_runtime(RuntimeConfig(device="cpu", amp_dtype="auto")).amp_dtype == expected
    assert native_amp_dtype(torch.device("cuda")) == ("bf16" if native else "fp32")


def test_losses_of_a_lower_precision_are_those_of_the_same_pictures_in_float32(samples, tmp_path):
    """Mostly white pictures, on which structural similarity in bfloat16 was wrong by a factor of three."""
    trainer = trainer_of(samples, tmp_path, torch.bfloat16, {})
    batch = first_batch(trainer)
    with trainer.runtime.autocast():
        gaussians = trainer.model(batch.input)
    rendering = trainer.reconstructor.rasterizer(gaussians.float(), batch.target.cameras, batch.background)
    outside = trainer.losses(gaussians, rendering, batch, step=0)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        inside = trainer.losses(gaussians, rendering, batch, step=0)
    assert isinstance(trainer.losses, Losses)
    for name, value in outside.terms.items():
        assert torch.equal(value, inside.terms[name])
