"""Write the report of a run as one page: curves, held-out scores, pictures, cost, set-up.

    python scripts/report.py demo_output/run

Training writes it when it ends; this command does at any time, also for a run that goes on or was killed.
"""

import argparse
from pathlib import Path

from gslrm import cli


def main() -> int:
    """Parse, write, say where."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, help="run folder of train_gslrm.py")
    parser.add_argument("--output", type=Path, metavar="FILE.html", help="default: report.html in the run folder")
    arguments = parser.parse_args()

    from gslrm.training.report import write_report

    cli.report(str(write_report(arguments.run, arguments.output)))
    return 0


if __name__ == "__main__":
    cli.run(main)
