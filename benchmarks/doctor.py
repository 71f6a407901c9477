"""Compare the doctor's estimate of memory and time with training passes on this machine's CPU.

    python benchmarks/doctor.py
    python benchmarks/doctor.py --case LoRA --as-it-is
    python benchmarks/doctor.py --cards 12 configs/mouse_gslrm_local_rtx3060.yaml configs/mouse_gslrm_lora.yaml

The first two print a table of estimated and measured peaks, each in a process of its own; the third measures nothing
and prints the table of docs/memory.md for a card of 12 GiB.
"""

import argparse
import json
from pathlib import Path

from doctor_cases import CASES, DISC, configuration, measure

from gslrm import cli
from gslrm.config_io import load_config
from gslrm.doctor import card, estimate, estimate_reconstruction, this_machine

GIB, MIB = 2**30, 2**20
Row = dict[str, float]
COLUMNS = {
    "parameters": ("parameters, trained", "parameters, frozen"),
    "gradients": ("gradients",),
    "optimiser": ("optimiser state", "average and anchor of weights"),
    "network": ("weight copies of autocast", "activations kept", "recomputed, passing in backward"),
    "the rest": ("Gaussians", "renderer", "pictures and losses", "networks of the losses", "batch and targets"),
}


def main() -> None:
    """One of the two tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--case", default="", help="only cases whose name contains this")
    parser.add_argument("--as-it-is", action="store_true", help="let the C library keep freed memory, as it does")
    parser.add_argument("--json", action="store_true", help="print figures in bytes and seconds instead of a table")
    parser.add_argument("--cards", type=float, metavar="GIB", help="estimate configurations for a card instead")
    parser.add_argument("configs", nargs="*", type=Path)
    arguments = parser.parse_args()
    if arguments.cards:
        tell_cards(arguments.configs, arguments.cards)
    else:
        cases = [name for name in CASES if arguments.case in name]
        rows = {name: compare(name, give_back=not arguments.as_it_is) for name in cli.track(cases, "cases")}
        cli.report(json.dumps(rows) if arguments.json else table(rows))


def compare(name: str, *, give_back: bool) -> Row:
    """Estimated and measured bytes and seconds of one case."""
    config = configuration(CASES[name])
    found = estimate(config, this_machine(config.training.runtime), shown=DISC)
    measured = measure(CASES[name], give_back=give_back)
    return {
        "estimated": found.rehearsal.peak + found.rehearsal.host_bytes,  # on a CPU both are in one memory
        "measured": measured["peak"],
        "estimated_seconds": found.pass_seconds,
        "measured_seconds": measured["seconds"],
        "before": measured["before"],
    }


def table(rows: dict[str, Row]) -> str:
    """For a document."""
    lines = [
        "| case | estimated MiB | measured MiB | ratio | estimated s | measured s |",
        "|---|---:|---:|---:|---:|---:|",
    ]
    for name, row in rows.items():
        estimated, measured = row["estimated"], row["measured"]
        seconds = f"{row['estimated_seconds']:.2f} | {row['measured_seconds']:.2f}"
        lines.append(
            f"| {name} | {estimated / MIB:.0f} | {measured / MIB:.0f} | {estimated / measured:.2f} | {seconds} |"
        )
    return "\n".join(lines)


def tell_cards(paths: list[Path], gibibytes: float) -> None:
    """Estimates for a card, of training and of reconstructing one sample."""
    cli.report(f"| configuration | {' | '.join(COLUMNS)} | together | of {gibibytes:g} GiB | s per pass | inference |")
    cli.report("|---" + "|---:" * (len(COLUMNS) + 1) + "|---|---:|---:|")
    for path in cli.track(paths, "configurations"):
        config = load_config(path)
        target = card(gibibytes, config.training.runtime)
        now, inference = estimate(config, target), estimate_reconstruction(config, target)
        parts = [sum(now.rehearsal.bytes_at_peak[label] for label in labels) / GIB for labels in COLUMNS.values()]
        columns = " | ".join(f"{part:.2f}" for part in [*parts, now.taken / GIB])
        fits = "fits" if now.fits else "**does not fit**"
        cli.report(f"| `{path.stem}` | {columns} | {fits} | {now.pass_seconds:.2f} | {inference.taken / GIB:.2f} |")


if __name__ == "__main__":
    cli.run(main)
