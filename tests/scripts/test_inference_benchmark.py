"""The benchmark of inference: what is measured is kept, even when it is stopped, and never mixed with other data."""

import importlib.util
import json
import sys
from pathlib import Path

import pytest

from gslrm.errors import UserError

FIGURES = {
    "elapsed": 4.0,
    "processor": 6.0,
    "seconds": {"forward": 1.0, "render": 2.0, "write": 1.0},
    "peak_gib": 1.0,
    "card_gib": 0.0,
    "written_mb": 3.0,
}


@pytest.fixture
def benchmark(monkeypatch):
    """The command, with figures out of the air; `benchmark.call` runs it."""
    path = Path(__file__).parents[2] / "benchmarks/inference.py"
    spec = importlib.util.spec_from_file_location("inference_benchmark", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    module.measured = []

    def run_alone(case: dict) -> dict:
        module.measured.append((case["outputs"], case["size"], case["workers"]))
        return case | FIGURES | {"elapsed": 4.0 / (1 + case["workers"])}

    def call(*arguments: object) -> int:
        monkeypatch.setattr(sys, "argv", ["inference.py", "--batch", "1", *map(str, arguments)])
        return module.main()

    monkeypatch.setattr(module, "run_alone", run_alone)
    module.call = call
    return module


def rows(path: Path) -> list[tuple[str, int, int]]:
    return [(row["outputs"], row["size"], row["workers"]) for row in json.loads(path.read_text())]


def test_a_run_that_is_stopped_keeps_its_rows(benchmark, monkeypatch, tmp_path):
    whole = benchmark.run_alone

    def interrupted(case: dict) -> dict:
        if len(benchmark.measured) == 3:
            raise KeyboardInterrupt
        return whole(case)

    monkeypatch.setattr(benchmark, "run_alone", interrupted)
    with pytest.raises(KeyboardInterrupt):
        benchmark.call("--data", "list", "--json", tmp_path / "rows.json")
    assert rows(tmp_path / "rows.json") == benchmark.measured
    assert benchmark.measured == [("gaussians", 128, 0), ("gaussians", 128, 2), ("gaussians", 256, 0)]


def test_rows_of_other_sizes_are_added_and_equal_cases_replaced(benchmark, tmp_path, capsys):
    file = tmp_path / "rows.json"
    benchmark.call("--data", "list", "--json", file, "--sizes", 256, "--outputs", "all")
    content = json.loads(file.read_text())
    content[0]["elapsed"] = 99.0
    file.write_text(json.dumps(content))
    benchmark.call("--data", "list", "--json", file, "--sizes", 128, 256, "--outputs", "all")
    assert sorted(rows(file)) == [("all", size, workers) for size in (128, 256) for workers in (0, 2)]
    assert all(row["elapsed"] < 99 for row in json.loads(file.read_text()))
    table = [line for line in capsys.readouterr().out.splitlines() if line.startswith("| all")][-4:]
    assert [line.split(" | ")[1:6] for line in table] == [
        [str(size), *cells]
        for size in (128, 256)
        for cells in (["serial", "1.00", "1.00 x", "0.75"], ["pipelined", "3.00", "3.00 x", "2.25"])
    ]


@pytest.mark.parametrize("other", [("--data", "other"), ("--data", "list", "--samples", 2)])
def test_rows_of_something_else_are_not_added_to(other, benchmark, tmp_path):
    file = tmp_path / "rows.json"
    benchmark.call("--data", "list", "--json", file, "--sizes", 128)
    before = file.read_text()
    with pytest.raises(UserError, match="name another --json"):
        benchmark.call(*other, "--json", file, "--sizes", 256)
    assert file.read_text() == before
