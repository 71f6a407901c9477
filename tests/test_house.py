"""The rules of the house: who imports whom, and what may be said where."""

import ast
import re
from collections.abc import Iterator

import pytest
from house_helpers import PACKAGE, ROOT, module_name, parse, schema_keys
from pydantic import AfterValidator

from gslrm.config import Config
from gslrm.config_io import load_config

COMMANDS = sorted([*ROOT.glob("*.py"), *(ROOT / "scripts").rglob("*.py")])
CONFIGS = sorted((ROOT / "configs").rglob("*.yaml"))

NOUNS = {"exact", "compiled", "tensor_struct", "similarity", "cameras", "harmonics", "types", "unbounded"}
ROOMS = {"data", "model", "render"}
# A module or a room (with all in it), and what of ours it may import besides itself and `errors`.
MAY_IMPORT = {
    "__init__": set(),
    "errors": set(),
    "config": set(),
    "yaml_reader": set(),
    "config_check": {"config", "yaml_reader"},
    "config_io": {"config", "config_check", "yaml_reader"},
    "cli": set(),
    "exact": set(),
    "compiled": set(),
    "tensor_struct": set(),
    "harmonics": set(),
    "similarity": {"tensor_struct"},
    "cameras": {"tensor_struct", "similarity"},
    "types": NOUNS - {"types", "unbounded"},
    "unbounded": {"types"},
    "metrics": NOUNS,
    "export": NOUNS,
    "visualize": NOUNS | {"metrics", "export"},
    "data": NOUNS | {"config"},
    "model": NOUNS | {"config"},
    "render": NOUNS | {"config"},
    "reconstruct": NOUNS | ROOMS | {"config", "config_io", "shipped", "training.runtime"},
    "shipped": set(),
    "inference": NOUNS
    | {"clean", "cli", "config", "data", "export", "model", "motion", "reconstruct", "refine", "training"},
    "evaluation": NOUNS | ROOMS | {"config", "metrics", "reconstruct"},
    "training": NOUNS
    | ROOMS
    | {"config", "config_io", "cli", "metrics", "visualize", "export", "reconstruct", "html_page", "html_plot"}
    | {"evaluation", "look_around", "mesh", "motion"},
    "rig_page": NOUNS | {"html_page", "rig_page_script", "visualize"},
    "rig_page_script": set(),
    "camera_report": NOUNS | ROOMS | {"config", "export", "html_page", "reconstruct", "rig_page", "visualize"},
    "html_page": set(),
    "html_plot": {"html_page"},
    "proof": NOUNS | {"config", "data", "export", "html_page", "html_plot", "visualize"},
    "prepare": NOUNS | {"cli", "config", "data", "export", "html_page", "html_plot", "proof"},
    "refine": NOUNS | {"config", "data", "metrics", "reconstruct", "render"},
    "scorecard": NOUNS
    | {
        "data",
        "evaluation",
        "export",
        "html_page",
        "html_plot",
        "metrics",
        "model",
        "reconstruct",
        "refine",
        "visualize",
    },
    "look_around": NOUNS,
    "clean": NOUNS | {"config", "data", "look_around", "metrics", "reconstruct", "render"},
    "format_table": NOUNS | {"clean", "export", "look_around", "metrics", "render"},
    "mesh": NOUNS | {"data", "export", "look_around", "render"},
    "motion": NOUNS
    | {"cli", "config", "data", "export", "html_page", "html_plot", "look_around", "render", "visualize"},
    "view": NOUNS
    | {"clean", "cli", "data", "export", "html_page", "look_around", "metrics", "motion", "render", "visualize"},
    "doctor": NOUNS | ROOMS | {"config", "training"},
}
LIGHT = {"errors", "config", "yaml_reader", "config_check", "config_io", "cli"}
HEAVY = {"torch", "numpy", "numba", "cv2", "scipy", "wandb", "PIL", "imageio"}
MAY_SAY_CUDA = {"training/runtime.py", "render/gsplat_backend.py", "config/training.py"}
MAX_FIXTURE_BYTES = 10_000_000

# Keys that exist so that a published file which sets them to their only meaning loads.
NEVER_READ: dict[str, str] = {}


def imported(tree: ast.AST) -> Iterator[str]:
    """Every module that is imported anywhere in the file; `from a import b` counts as a and as a.b."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"line {node.lineno}: relative import"
            yield str(node.module)
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def ours(tree: ast.AST) -> set[str]:
    """Modules of this package that a file imports, without the package's name."""
    names = {module_name(path) for path in PACKAGE}
    found = {name.removeprefix("gslrm.") for name in imported(tree) if name.startswith("gslrm.")}
    return {name for name in found if name in names}


def is_within(name: str, place: str) -> bool:
    return name == place or name.startswith(f"{place}.")


@pytest.mark.parametrize("path", PACKAGE, ids=module_name)
def test_modules_import_only_what_the_map_allows(path):
    name = module_name(path)
    room = name.partition(".")[0]
    assert room in MAY_IMPORT, f"gslrm/{room} is not on the import map of tests/test_house.py"
    allowed = MAY_IMPORT[room] | {room, "errors"}
    strangers = {other for other in ours(parse(path)) if not any(is_within(other, place) for place in allowed)}
    assert not strangers, f"gslrm.{name} may not import {sorted(strangers)}"


@pytest.mark.parametrize("path", PACKAGE, ids=module_name)
def test_nobody_imports_the_commands(path):
    names = {command.stem for command in ROOT.glob("*.py")} | {"scripts"}
    assert not {name.partition(".")[0] for name in imported(parse(path))} & names


@pytest.mark.parametrize("name", sorted(LIGHT))
def test_what_every_command_imports_first_is_light(name):
    paths = [path for path in PACKAGE if is_within(module_name(path), name)]
    assert paths
    roots = {module.partition(".")[0] for path in paths for module in imported(parse(path))}
    assert not roots & HEAVY


@pytest.mark.parametrize("path", PACKAGE, ids=module_name)
def test_the_package_never_prints(path):
    calls = [node for node in ast.walk(parse(path)) if isinstance(node, ast.Call)]
    assert not [call.lineno for call in calls if isinstance(call.func, ast.Name) and call.func.id == "print"]


@pytest.mark.parametrize("path", PACKAGE, ids=module_name)
def test_cuda_is_named_only_where_devices_are_chosen(path):
    if path.relative_to(ROOT / "gslrm").as_posix() in MAY_SAY_CUDA:
        return
    tree = parse(path)
    texts = [node.value for node in ast.walk(tree) if isinstance(node, ast.Constant) and isinstance(node.value, str)]
    assert not [text for text in texts if re.fullmatch(r"cuda(:\d+)?", text)]
    calls = [node.func for node in ast.walk(tree) if isinstance(node, ast.Call)]
    assert not [call.lineno for call in calls if isinstance(call, ast.Attribute) and call.attr == "cuda"]


def test_every_key_of_the_schema_is_read():
    readers = [path for path in (*PACKAGE, *COMMANDS) if ROOT / "gslrm" / "config" not in path.parents]
    nodes = [node for path in readers for node in ast.walk(parse(path))]
    read = {node.attr for node in nodes if isinstance(node, ast.Attribute)}
    unread = {
        key
        for key, metadata in schema_keys()
        if key.rpartition(".")[2] not in read and not any(isinstance(item, AfterValidator) for item in metadata)
    }
    assert unread <= set(NEVER_READ), f"no code reads {sorted(unread - set(NEVER_READ))}"
    assert set(NEVER_READ) <= unread, "NEVER_READ names a key that is read"


def test_every_default_can_be_written_in_yaml():
    assert Config.model_validate(Config().model_dump(mode="json"), strict=True) == Config()


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.name)
def test_every_configuration_loads(path):
    load_config(path)


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.name)
def test_every_configuration_opens_with_its_purpose_and_its_command(path):
    lines = path.read_text(encoding="utf-8").splitlines()
    opening = "\n".join(lines[: next(i for i, line in enumerate(lines) if not line.startswith("#"))])
    assert opening.startswith("# Purpose: ")
    assert f"--config configs/{path.name}" in opening or "Not meant to be run by itself" in opening


TESTS = sorted((ROOT / "tests").rglob("*.py"))
SOMEBODYS = re.compile(r"""["' (]/(?:work|home|root|Users)/\w""")


@pytest.mark.parametrize("path", [*PACKAGE, *COMMANDS, *TESTS], ids=lambda path: path.relative_to(ROOT).as_posix())
def test_no_file_names_a_place_on_somebodys_machine(path):
    assert not SOMEBODYS.search(path.read_text(encoding="utf-8"))


BENCHMARKS = sorted((ROOT / "benchmarks").rglob("*.py"))
UNSAFE_CALLS = {"pickle.load", "pickle.loads", "pickle.Unpickler", "joblib.load", "dill.load", "pandas.read_pickle"}
# These set off bombs of their own, to show that what refuses them would be harmed.
SET_OFF_BOMBS = {ROOT / "tests/training/test_checkpoint_damage.py", ROOT / "tests/data/test_calibration_hostile.py"}


@pytest.mark.parametrize(
    "path",
    sorted({*PACKAGE, *COMMANDS, *BENCHMARKS, *TESTS} - SET_OFF_BOMBS),
    ids=lambda path: path.relative_to(ROOT).as_posix(),
)
def test_no_file_that_is_read_can_run_code(path):
    """torch.load with weights_only=True, numpy.load without allow_pickle, and no pickle otherwise."""
    tree = parse(path)
    assert not {"torch.load", "numpy.load", *UNSAFE_CALLS} & set(imported(tree)), "import the module, not the function"
    for call in (node for node in ast.walk(tree) if isinstance(node, ast.Call)):
        name = re.sub(r"^np\.", "numpy.", ast.unparse(call.func))
        options = {keyword.arg: ast.unparse(keyword.value) for keyword in call.keywords}
        assert name not in UNSAFE_CALLS, f"line {call.lineno}: {name}"
        if name == "torch.load":
            assert options.get("weights_only") == "True", f"line {call.lineno}: torch.load without weights_only=True"
        if name == "numpy.load":
            assert options.get("allow_pickle", "False") == "False", f"line {call.lineno}: numpy.load with allow_pickle"


def test_fixtures_stay_small():
    sizes = [path.stat().st_size for path in (ROOT / "tests" / "fixtures").rglob("*") if path.is_file()]
    assert sum(sizes) < MAX_FIXTURE_BYTES


def test_the_map_names_no_module_that_is_gone():
    rooms = {module_name(path).partition(".")[0] for path in PACKAGE}
    assert set(MAY_IMPORT) <= rooms
