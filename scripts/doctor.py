"""Say what this machine can do, and what a configuration will ask of it.

    python scripts/doctor.py
    python scripts/doctor.py --config configs/mouse_gslrm_local_rtx3060.yaml

Ends with status 1 when something that is needed is missing; the line says how to get it.
"""

import argparse
import sys
from importlib.util import find_spec

NEEDED_TO_START = ("torch", "pydantic", "yaml", "rich", "gslrm")


def main() -> int:
    """Report the findings; 1 if any of them is a fault."""
    from gslrm.cli import add_overrides, report
    from gslrm.config_io import load_config

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", help="size up this configuration too: parameters, Gaussians, memory")
    add_overrides(parser)
    arguments = parser.parse_args()
    if arguments.overrides and not arguments.config:
        parser.error("--set needs --config")
    config = load_config(arguments.config, arguments.overrides) if arguments.config else None

    from gslrm.doctor import examine_config, examine_machine

    findings = examine_machine() + (examine_config(config) if config else [])
    for finding in findings:
        report(f"{finding.name:<34} {finding.value}")
        if finding.cure or finding.hint:
            report(f"{'':<34} {f'repair: {finding.cure}' if finding.cure else f'note: {finding.hint}'}")
    faults = [finding.name for finding in findings if finding.cure]
    report(f"\n{len(faults)} to repair: {', '.join(faults)}" if faults else "\nEverything that is needed is here.")
    return 1 if faults else 0


if __name__ == "__main__":
    missing = [name for name in NEEDED_TO_START if find_spec(name) is None]
    if missing:
        sys.exit(f"not installed: {', '.join(missing)}. Repair: python -m pip install -e . -c constraints.txt")

    from gslrm.cli import run

    run(main)
