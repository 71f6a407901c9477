"""YAML files, their bases and overrides become one configuration, which is written and read again."""

import subprocess
import sys
from pathlib import Path

import pytest
from config_helpers import refusal, write
from pydantic import ValidationError

from gslrm.config import Config
from gslrm.config_io import config_from_mapping, load_config, parse_view_list, save_config
from gslrm.errors import UserError


@pytest.fixture(autouse=True)
def in_empty_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def test_a_file_with_only_a_model_section_takes_every_other_default():
    config = load_config(write("x.yaml", "model: {transformer: {n_layer: 2}}"))
    assert config.model.transformer.n_layer == 2
    assert config.training == Config().training


def test_the_configuration_cannot_be_changed():
    with pytest.raises(ValidationError, match="frozen"):
        load_config(write("x.yaml", "{}")).training.optimizer.lr = 1.0


def test_a_section_whose_keys_are_commented_out_is_empty():
    assert load_config(write("x.yaml", "validation:\n  # enabled: true\ntraining: {dataset: }")) == Config()


def test_mappings_merge_and_scalars_replace_along_the_chain_of_bases():
    write("a.yaml", "training: {optimizer: {lr: 1e-3, beta1: 0.8}, dataset: {num_views: 9}}")
    write("folder/b.yaml", "base: ../a.yaml\ntraining: {optimizer: {lr: 1e-4}}")
    config = load_config(write("x.yaml", "base: folder/b.yaml\ntraining: {dataset: {num_input_views: 3}}"))
    assert (config.training.optimizer.lr, config.training.optimizer.beta1) == (1e-4, 0.8)
    assert (config.training.dataset.num_views, config.training.dataset.num_input_views) == (9, 3)


def test_of_several_bases_the_later_wins():
    write("a.yaml", "training: {optimizer: {lr: 1e-3, beta1: 0.8}}")
    write("b.yaml", "training: {optimizer: {lr: 1e-4}}")
    optimizer = load_config(write("x.yaml", "base: [a.yaml, b.yaml]")).training.optimizer
    assert (optimizer.lr, optimizer.beta1) == (1e-4, 0.8)


def test_an_empty_section_does_not_undo_its_base():
    write("a.yaml", "training: {optimizer: {lr: 1e-3}}")
    assert load_config(write("x.yaml", "base: a.yaml\ntraining: {optimizer: }")).training.optimizer.lr == 1e-3


def test_null_replaces_a_value_of_the_base():
    write("a.yaml", "training: {checkpointing: {resume_ckpt: x.pt}}")
    text = "base: a.yaml\ntraining: {checkpointing: {resume_ckpt: null}}"
    assert load_config(write("x.yaml", text)).training.checkpointing.resume_ckpt is None


def test_two_bases_may_share_a_base():
    write("root.yaml", "mouse: {mask_threshold: 7}")
    write("a.yaml", "base: root.yaml")
    write("b.yaml", "base: root.yaml")
    assert load_config(write("x.yaml", "base: [a.yaml, b.yaml]")).mouse.mask_threshold == 7


def test_a_cycle_of_bases_names_the_chain():
    write("a.yaml", "base: x.yaml")
    assert "x.yaml: base: the files form a cycle: x.yaml -> a.yaml -> x.yaml" in refusal("base: a.yaml")


def test_a_missing_base_names_both_files_and_does_not_hide_other_problems():
    message = refusal("base: gone.yaml\nmodel: {clip: true}")
    assert "x.yaml: base: gone.yaml: no such file" in message
    assert "model.clip: unknown key" in message


@pytest.mark.parametrize("base", ["3", "{a: 1}", "[a.yaml, 3]", "''"])
def test_a_base_is_a_file_or_a_list_of_files(base):
    assert "x.yaml: base: should be a file name" in refusal(f"base: {base}")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("- a\n- b", "x.yaml: line 1: expected keys with values, found a list"),
        ("hello", "x.yaml: line 1: expected keys with values, found 'hello'"),
        ("", "x.yaml: the file holds no keys"),
        ("a: b: c", "x.yaml: line 1, column 5: mapping values are not allowed here"),
        ("model:\n\tclip_xyz: true", "x.yaml: line 2, column 1"),
        ("model: [1", "x.yaml: line 1, column"),
        ("model: &x {y: *x}", "x.yaml: line 1, column"),
        ("model: !!python/name:os.system", "x.yaml: line 1, column 8"),
        ("model: \x00", "x.yaml: not YAML"),
        ("model: !!int x", "x.yaml: a tag does not fit its value"),
        ("[" * 3000, "x.yaml: not YAML: nested too deeply"),
        ("? [1]\n: 2", "x.yaml: line 1, column 3: found unhashable key"),
        ("a: 1\n---\nb: 1", "x.yaml: line 2, column 1: but found another document"),
    ],
)
def test_a_file_that_is_no_mapping_is_one_line_with_its_place(text, expected):
    message = refusal(text)
    assert expected in message
    assert "\n" not in message


def test_a_key_given_twice_is_told_with_both_lines():
    message = refusal("model:\n  clip_xyz: false\n  clip_xyz: true")
    assert message == "x.yaml: line 3: key 'clip_xyz' is given twice, first in line 2"


@pytest.mark.parametrize("path", ["gone.yaml", ".", "weights.pt"])
def test_a_path_that_is_no_text_file_is_one_line(path):
    Path("weights.pt").write_bytes(b"PK\x03\x04\xff\xfe")
    with pytest.raises(UserError, match=path.replace(".", r"\.")) as caught:
        load_config(path)
    assert "\n" not in str(caught.value)


def test_overrides_are_parsed_like_the_file():
    config = load_config(
        write("x.yaml", "{}"),
        ["training.optimizer.lr=1e-5", "model.clip_xyz=false", "training.checkpointing.resume_ckpt=", "mouse={}"]
        + ["training.logging.wandb.exp_name=run #3: a = b", "training.dataset={num_views: 9, num_input_views: 2}"],
    )
    assert config.training.optimizer.lr == 1e-5
    assert config.training.checkpointing.resume_ckpt is None
    assert config.training.logging.wandb.exp_name == "run #3: a = b"
    assert config.training.dataset.num_views == 9


def test_a_whole_number_where_text_belongs_means_its_digits():
    assert load_config(write("x.yaml", "validation: {heldout_views: 5}")).validation.heldout_views == "5"
    assert "should be text (in quotes if need be), not 0.5" in refusal("validation: {heldout_views: 0.5}")


def test_the_last_override_of_a_key_wins():
    overrides = ["mouse.mask_threshold=1", "mouse.mask_threshold=2"]
    assert load_config(write("x.yaml", "{}"), overrides).mouse.mask_threshold == 2


def test_an_override_can_repair_a_file():
    path = write("x.yaml", "training: {optimizer: 3}")
    assert load_config(path, ["training.optimizer.lr=1e-5"]).training.optimizer.lr == 1e-5


@pytest.mark.parametrize("override", ["a", "=1", "a..b=1", ".a=1", "", "training.optimizer.lr 3"])
def test_a_malformed_override_is_told_how_to_write_it(override):
    assert "write it as section.key=value" in refusal("{}", (override,))


def test_a_malformed_list_in_an_override_is_told():
    assert "--set 'mouse=[1': line 1, column" in refusal("{}", ("mouse=[1",))


def test_an_override_of_an_unknown_key_is_an_unknown_key():
    message = refusal("{}", ("model.transformer.n_layr=3",))
    assert message == "--set: model.transformer.n_layr: unknown key; did you mean 'n_layer'?"


def test_a_saved_configuration_loads_equal():
    overrides = ["training.logging.wandb.exp_name='1e-4'", "training.logging.wandb.group=no", "model.init_std=null"]
    overrides += ["training.optimizer.lr=1e-300", "training.dataset.dataset_path=é: #x", "mouse.object_size=0.1"]
    overrides += ["training.dataset.background_color=0.3", "training.logging.wandb.job_type='~'"]
    config = load_config(write("x.yaml", "{}"), overrides)
    save_config(config, "saved.yaml")
    assert load_config("saved.yaml") == config
    assert config_from_mapping(config.model_dump(mode="json"), source="checkpoint x.pt") == config


def test_a_configuration_from_a_mapping_names_its_source():
    with pytest.raises(UserError, match=r"^x\.pt: model\.n_layer: unknown key; this key exists at model\.transformer"):
        config_from_mapping({"model": {"n_layer": 3}}, source="x.pt")


def test_a_configuration_from_a_mapping_takes_overrides():
    assert config_from_mapping({}, source="x.pt", overrides=["mouse.mask_threshold=3"]).mouse.mask_threshold == 3


def test_configuration_imports_neither_torch_nor_opencv():
    heavy = "{'torch', 'cv2', 'numba', 'numpy'} & set(sys.modules)"
    code = f"import sys, gslrm.config_io; sys.exit(str({heavy}) if {heavy} else 0)"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(__file__).parents[1])


@pytest.mark.parametrize(
    ("text", "views"),
    [("0-5", (0, 1, 2, 3, 4, 5)), ("0,2,4", (0, 2, 4)), ("0-2, 7", (0, 1, 2, 7)), ("3", (3,)), ("ALL", None)]
    + [("none", ()), ("5-5", (5,)), ("4,1", (4, 1))],
)
def test_a_view_list_means_its_views_in_order(text, views):
    assert parse_view_list(text, option="--views") == views


@pytest.mark.parametrize("text", ["", "a", "5-0", "1,,2", "-1", "0-", "1,1", "0-3,2", "1.5", "0 1"])
def test_anything_else_is_refused_with_the_option(text):
    with pytest.raises(UserError, match=r"^--views: "):
        parse_view_list(text, option="--views")
