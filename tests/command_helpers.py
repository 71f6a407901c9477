"""Commands of the project, run in the process of the tests."""

import runpy
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def call(script: str, *arguments: object) -> int:
    """Run a script as a user would; returns its exit status."""
    argv, sys.argv = sys.argv, [script, *map(str, arguments)]
    try:
        runpy.run_path(str(ROOT / script), run_name="__main__")
    except SystemExit as end:
        return int(end.code or 0)
    finally:
        sys.argv = argv
    return 0
