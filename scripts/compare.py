"""Put two pictures under one another with a slider between them, as one page.

    python scripts/compare.py --before RUN_A --after RUN_B --output compare.html
    python scripts/compare.py --before old/overview.png --after new/overview.png --output compare.html

Of a run the last picture is taken; of one run given twice, the first and the last.
"""

import argparse
from pathlib import Path

from gslrm import cli


def main() -> int:
    """Parse, write, say where."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--before", type=Path, required=True, metavar="PNG|RUN", help="picture or run folder")
    parser.add_argument("--after", type=Path, required=True, metavar="PNG|RUN", help="picture or run folder")
    parser.add_argument("--output", type=Path, required=True, metavar="FILE.html")
    parser.add_argument("--picture", default="val/gt_vs_pred", metavar="NAME", help="which picture of a run")
    parser.add_argument("--step", type=int, metavar="N", help="the run's picture after this pass")
    arguments = parser.parse_args()

    from gslrm.training.report import write_comparison

    write_comparison(arguments.before, arguments.after, arguments.output, name=arguments.picture, step=arguments.step)
    cli.report(str(arguments.output))
    return 0


if __name__ == "__main__":
    cli.run(main)
