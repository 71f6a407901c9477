"""Every problem of a configuration is told at once, with its key, its file and its cure; FaceLift's own files load."""

import logging

import pytest
from config_helpers import refusal, write

from gslrm import config_check
from gslrm.config_io import load_config

# What the YAML files of FaceLift's three stages say, in the keys and values that the specification records.
PUBLISHED_MODEL = """
model:
  class_name: gslrm.model.gslrm.GSLRM
  image_tokenizer: {image_size: SIZE, patch_size: 8, in_channels: 9}
  transformer: {d: 1024, d_head: 64, n_layer: 24}
  gaussians:
    n_gaussians: 2
    sh_degree: 0
    upsampler: {upsample_factor: 1}
  add_refsrc_marker: False
  hard_pixelalign: true
  use_custom_plucker: true
  clip_xyz: true
"""
PUBLISHED_TRAINING = """
training:
  runtime:
    use_tf32: True
    use_amp: True
    amp_dtype: "bf16"
    torch_compile: false
    grad_accum_steps: 1
    grad_clip_norm: 1.0
    allowed_gradnorm_factor: 20
    grad_checkpoint_every: 1
  dataset:
    dataset_path: data_sample/gslrm/data_gslrm_train.txt
    num_views: 8
    num_input_views: INPUTS
    target_has_input: true
    maximize_view_overlap: true
    background_color: white
    remove_alpha: false
    normalize_distance_to: 0
  dataloader: {batch_size_per_gpu: BATCH, num_workers: 4, num_threads: 8, prefetch_factor: 2}
  losses:
    l2_loss_weight: 1.0
    lpips_loss_weight: 0.0
    perceptual_loss_weight: 0.5
    ssim_loss_weight: 0.0
    pixelalign_loss_weight: 0.0
    masked_pixelalign_loss: true
    pointsdist_loss_weight: 0.0
    warmup_pointsdist: POINTSDIST
    distill_loss_weight: 0.0
  optimizer: {lr: RATE, beta1: 0.9, beta2: 0.95, weight_decay: 0.05, reset_lr: false, reset_weight_decay: false}
  schedule: {max_fwdbwd_passes: PASSES, num_epochs: 100000, warmup: WARMUP, l2_warmup_steps: L2WARMUP}
  checkpointing:
    checkpoint_dir: checkpoints/STAGE
    checkpoint_every: 500
    resume_ckpt: "checkpoints/PREVIOUS"
    reset_training_state: true
  logging:
    print_every: 20
    vis_every: 500
    wandb: {project: gslrm, exp_name: STAGE, offline: false, log_every: 50}
VALIDATION
inference: {enabled: false, output_dir: experiments/inference}
evaluation: {enabled: false}
debug: false
profile: false
"""
VALIDATED = "validation: {enabled: true, dataset_path: data_sample/gslrm/data_gslrm_val.txt, val_every: 500}"
STAGES = {
    "stage_1": {"SIZE": 256, "INPUTS": 4, "BATCH": 8, "RATE": 4e-4, "PASSES": 80000, "WARMUP": 2000, "L2WARMUP": 5000}
    | {"POINTSDIST": "true", "VALIDATION": "validation: {enabled: false}"},
    "stage_2": {"SIZE": 512, "INPUTS": 4, "BATCH": 2, "RATE": 1e-4, "PASSES": 20000, "WARMUP": 500, "L2WARMUP": 500}
    | {"POINTSDIST": "false", "VALIDATION": "validation: {enabled: false}"},
    "stage_3": {"SIZE": 512, "INPUTS": 6, "BATCH": 2, "RATE": 1e-4, "PASSES": 20000, "WARMUP": 500, "L2WARMUP": 500}
    | {"POINTSDIST": "false", "VALIDATION": VALIDATED},
}


@pytest.fixture(autouse=True)
def in_empty_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    config_check._tell_once.cache_clear()


def published(stage: str) -> str:
    text = PUBLISHED_MODEL + PUBLISHED_TRAINING.replace("STAGE", stage).replace("PREVIOUS", stage)
    for word, value in sorted(STAGES[stage].items(), key=lambda item: -len(item[0])):
        text = text.replace(word, str(value))
    return text


@pytest.mark.parametrize(
    ("text", "value"),
    [("1e-4", 1e-4), ("1E-4", 1e-4), (".5", 0.5), ("3", 3.0), ("010", 10.0), ("+2.5e+1", 25.0), ("-0", 0.0)],
)
def test_every_way_to_write_a_number_is_that_number(text, value):
    config = load_config(write("x.yaml", f"training: {{losses: {{l2_loss_weight: {text}}}}}"))
    assert config.training.losses.l2_loss_weight == value


@pytest.mark.parametrize("word", ["true", "True", "TRUE"])
def test_true_is_a_boolean(word):
    assert load_config(write("x.yaml", f"model: {{add_refsrc_marker: {word}}}")).model.add_refsrc_marker is True


@pytest.mark.parametrize("word", ["yes", "no", "on", "off", "1", '"true"'])
def test_nothing_else_is_a_boolean(word):
    assert "x.yaml: model.clip_xyz: should be true or false" in refusal(f"model: {{clip_xyz: {word}}}")


@pytest.mark.parametrize("text", ["'3'", "3.0", "true", "1_000", "2e1"])
def test_nothing_but_a_whole_number_is_a_count(text):
    assert "should be a valid integer" in refusal(f"model: {{transformer: {{n_layer: {text}}}}}")


@pytest.mark.parametrize("text", [".inf", ".nan", "-1"])
def test_a_weight_is_finite_and_not_negative(text):
    assert "training.losses.l2_loss_weight" in refusal(f"training: {{losses: {{l2_loss_weight: {text}}}}}")


def test_a_misspelled_key_is_told_with_file_path_and_nearest_name():
    message = refusal("model: {transformer: {n_layr: 3}}")
    assert message == "x.yaml: model.transformer.n_layr: unknown key; did you mean 'n_layer'?"


def test_a_key_in_the_wrong_section_is_told_its_place():
    message = refusal("training: {grad_accum_steps: 4}")
    assert message.endswith("unknown key; this key exists at training.runtime.grad_accum_steps")


def test_a_key_like_nothing_is_told_the_valid_ones():
    assert refusal("model: {transformer: {zzz: 1}}").endswith("valid keys here are d, d_head, n_layer")


def test_an_unknown_section_is_one_problem():
    assert refusal("modle: {a: 1, b: {c: 2}}") == "x.yaml: modle: unknown key; did you mean 'model'?"


@pytest.mark.parametrize("empty", ["", "{}", "~"])
def test_an_unknown_section_without_keys_is_a_problem_too(empty):
    assert "x.yaml: modle: unknown key" in refusal(f"modle: {empty}")


def test_all_problems_are_told_at_once():
    write("base.yaml", "training: {losses: {masked_ssim_loss: true}}\nmouse: {mask_treshold: 3}")
    message = refusal(
        "base: base.yaml\nmodel: {clip_xyz: 3}\nmodle: 1\nrender: {backend: gpu}", ("training.optimizer.lr=0", "oops")
    )
    assert message.startswith("7 problems")
    for expected in (
        "base.yaml: mouse.mask_treshold: unknown key; did you mean 'mask_threshold'?",
        "base.yaml: training.losses.masked_ssim_loss needs training.losses.ssim_loss_weight > 0",
        "x.yaml: model.clip_xyz: should be true or false, not 3",
        "x.yaml: modle: unknown key",
        "x.yaml: render.backend: should be 'auto', 'cpu' or 'gsplat', not 'gpu'",
        "--set: training.optimizer.lr: should be greater than 0, not 0",
        "--set 'oops': write it as section.key=value",
    ):
        assert expected in message


def test_a_check_across_keys_that_a_misspelling_may_explain_is_not_told():
    message = refusal("training: {dataset: {num_vews: 12, num_input_views: 10}}")
    assert "num_vews: unknown key" in message
    assert "exceeds" not in message


def test_a_check_across_files_names_the_files_that_set_the_keys():
    write("base.yaml", "model: {image_tokenizer: {patch_size: 8}}")
    message = refusal("base: base.yaml\nmodel: {image_tokenizer: {image_size: 30}, clip_xyz: false}")
    assert message.startswith("base.yaml, x.yaml: model.image_tokenizer: image_size 30 is not a multiple")


def test_a_union_is_told_as_one_problem():
    message = refusal("training: {dataset: {background_color: purple}}")
    assert "\n" not in message
    assert "'white'" in message
    assert "number" in message


@pytest.mark.parametrize("value", ["3", "[1, 2]", "text"])
def test_a_section_needs_keys(value):
    assert "training.optimizer: should be a section with keys below it" in refusal(f"training: {{optimizer: {value}}}")


@pytest.mark.parametrize("stage", STAGES)
def test_the_published_file_of_each_stage_loads(stage):
    config, said = load_config(write("x.yaml", published(stage))), STAGES[stage]
    assert config.training.schedule.warmup == said["WARMUP"]
    assert config.training.dataset.num_input_views == said["INPUTS"]
    assert config.model.image_tokenizer.image_size == said["SIZE"]
    assert config.training.losses.warmup_pointsdist is (stage == "stage_1")


def test_clip_xyz_loads_and_is_told_once(caplog):
    path = write("x.yaml", published("stage_3"))
    with caplog.at_level(logging.WARNING):
        assert load_config(path).model.clip_xyz is True
        load_config(path)
    assert [record.message[:20] for record in caplog.records] == ["model.clip_xyz is on"]


def test_the_class_name_of_gslrm_is_dropped_and_told(caplog):
    with caplog.at_level(logging.INFO):
        load_config(write("x.yaml", "model: {class_name: gslrm.model.gslrm.GSLRM}"))
    assert "model.class_name is dropped" in caplog.text


def test_another_class_name_is_refused():
    assert "model.class_name: refused" in refusal("model: {class_name: lgm.models.LGM}")


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("training: {crop_size: 128}", "not implemented"),
        ("evaluation: {half_bbx_size: 0.9}", "no crop box"),
        ("evaluation: {enabled: true}", "a command of its own: python scripts/evaluate.py"),
        ("inference: {enabled: true}", "a command of its own: python inference.py"),
        ("training: {losses: {distill_loss_weight: 0.1}}", "the original never read it"),
        ("training: {losses: {pixelalign_loss_weight: 0.1}}", "needs model.hard_pixelalign: false"),
        ("debug: true", "the original never read it"),
        ("model: {gaussians: {upsampler: {upsample_factor: 2}}}", "the original raises"),
    ],
)
def test_a_published_key_that_nothing_implements_is_refused_with_the_reason(text, reason):
    assert reason in refusal(text)
