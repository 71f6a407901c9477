"""Say what this machine can do, and what a configuration will ask of it.

    python scripts/doctor.py
    python scripts/doctor.py --config configs/mouse_gslrm_local_rtx3060.yaml
    python scripts/doctor.py --config configs/mouse_gslrm_local_rtx3060.yaml --card 12

The second estimates memory and time of training here, the third on a card of 12 GiB that is not here; both say what to
change (docs/memory.md). Ends with status 1 when something that is needed is missing; the line says how to get it.
"""

import argparse
import sys
from importlib.util import find_spec

NEEDED_TO_START = ("torch", "pydantic", "yaml", "rich", "gslrm")


def main() -> int:
    """Report the findings; 1 if any of them is a fault."""
    from gslrm.cli import report

    arguments = parse_arguments()
    if arguments.config and arguments.card:
        report_estimate(arguments)
        return 0

    from gslrm.doctor import examine_machine

    findings = examine_machine()
    for finding in findings:
        report(f"{finding.name:<34} {finding.value}")
        if finding.cure or finding.hint:
            report(f"{'':<34} {f'repair: {finding.cure}' if finding.cure else f'note: {finding.hint}'}")
    if arguments.config:
        report_estimate(arguments)
    faults = [finding.name for finding in findings if finding.cure]
    report(f"\n{len(faults)} to repair: {', '.join(faults)}" if faults else "\nEverything that is needed is here.")
    return 1 if faults else 0


def parse_arguments() -> argparse.Namespace:
    """The options."""
    from gslrm.cli import add_overrides

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", help="estimate memory and time of training with this configuration")
    parser.add_argument(
        "--card", type=float, metavar="GIB", help="on a card with so much memory, as fast as a RTX 3060"
    )
    parser.add_argument("--shown", type=float, metavar="SHARE", help="of patches that drop_background keeps; 0.25")
    add_overrides(parser)
    arguments = parser.parse_args()
    if not arguments.config and (arguments.overrides or arguments.card or arguments.shown):
        parser.error("--set, --card and --shown need --config")
    if arguments.card is not None and arguments.card <= 0:
        parser.error("--card must be more than 0 GiB")
    if arguments.shown is not None and not 0 < arguments.shown <= 1:
        parser.error("--shown must be more than 0 and at most 1")
    return arguments


def report_estimate(arguments: argparse.Namespace) -> None:
    """Memory, time and advice for a configuration."""
    from gslrm.cli import report
    from gslrm.config_io import load_config

    config = load_config(arguments.config, arguments.overrides)

    from gslrm import doctor

    runtime, shown = config.training.runtime, arguments.shown or doctor.SHOWN
    target = doctor.card(arguments.card, runtime) if arguments.card else doctor.this_machine(runtime)
    now = doctor.estimate(config, target, shown=shown)
    report(f"\n{arguments.config}")
    for line in doctor.describe(now, shown=shown if config.model.drop_background else None):
        report(line)
    for line in doctor.describe_reconstruction(doctor.estimate_reconstruction(config, target, shown=shown)):
        report(line)
    for line in doctor.recommend(doctor.advise(config, now, shown=shown), now):
        report(line)


if __name__ == "__main__":
    missing = [name for name in NEEDED_TO_START if find_spec(name) is None]
    if missing:
        sys.exit(f"not installed: {', '.join(missing)}. Repair: python -m pip install -e . -c constraints.txt")

    from gslrm.cli import run

    run(main)
