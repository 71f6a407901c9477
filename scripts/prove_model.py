"""Measure all that a checkpoint is held to, at cameras it was not given: one page, tables for documents, pictures.

    python scripts/prove_model.py --data LIST --output scorecard  # of the shipped model

Every sample is reconstructed from all its input views, in another order, without each of them, from fewer, with wrong
masks and with wrong cameras, and compared at the same held-out cameras, beside the coloured visual hull. Scores are
kept as they come: after an interruption the same command goes on. `--few 8` measures all but the first row on eight
samples.
"""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gslrm import cli

if TYPE_CHECKING:
    from gslrm.data.sample import Sample
    from gslrm.evaluation.scoring import ViewScore
    from gslrm.reconstruct import Reconstructor
    from gslrm.scorecard.settings import Setting
    from gslrm.scorecard.store import Store

    Cases = dict[Path, tuple[Sample, tuple[int, ...]]]  # samples with the views to compare, by directory

TIMED_SAMPLES = 8


def main() -> int:
    """Parse, measure what is missing, write the report."""
    arguments = parse_arguments()

    from gslrm.config_io import parse_view_list
    from gslrm.data.lists import find_samples
    from gslrm.data.sample import read_sample
    from gslrm.reconstruct import Reconstructor, choose_inputs
    from gslrm.scorecard.report import write_report
    from gslrm.scorecard.results import Results
    from gslrm.scorecard.scores import held_out
    from gslrm.scorecard.settings import standard_settings
    from gslrm.scorecard.store import Store, fingerprint
    from gslrm.shipped import shipped_checkpoint

    checkpoint = arguments.checkpoint or shipped_checkpoint()
    samples = [read_sample(directory) for directory in find_samples(arguments.data)]
    options = {"device": arguments.device, "overrides": tuple(arguments.overrides), "config_file": arguments.config}
    reconstructor = Reconstructor.from_checkpoint(checkpoint, **options)
    every = choose_inputs(reconstructor.config, samples[0], arguments.input_views)
    asked = parse_view_list(arguments.target_views, option="--target-views") if arguments.target_views else None
    cases = {sample.directory: (sample, held_out(sample, every, asked)) for sample in samples}
    about = {
        "checkpoint": checkpoint.name,
        "sha256": fingerprint(checkpoint),
        "config": None if arguments.config is None else str(arguments.config),
        "overrides": arguments.overrides,
        "input_views": list(every),
        "target_views": None if asked is None else list(asked),
    }
    store = Store(arguments.output, about)
    settings = standard_settings(len(every), unit=arguments.unit, refine=arguments.refine)
    scores = measure_all(store, settings, cases, reconstructor, every=every, few=arguments.few)
    seconds = store.once("seconds", lambda: time_samples(reconstructor, list(cases.values()), every))
    results = Results(settings, scores, seconds, arguments.unit)
    told = about | {"data": str(arguments.data), "samples": len(samples)}
    write_report(arguments.output, reconstructor, results, every=every, about=told)
    cli.report((arguments.output / "tables.md").read_text(encoding="utf-8"))
    cli.report(str(arguments.output / "index.html"))
    return 0


def parse_arguments() -> argparse.Namespace:
    """The command line, checked."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--checkpoint", type=Path, help="of train_gslrm.py, or published weights (default: the shipped model)"
    )
    parser.add_argument("--config", type=Path, help="YAML file, for weights that carry no configuration")
    parser.add_argument("--data", type=Path, required=True, help="a sample, a directory of samples or a list file")
    parser.add_argument("--output", type=Path, required=True, help="folder of the scorecard; run again to go on in it")
    parser.add_argument("--input-views", metavar="0-5", help="views given to the model (default: as in training)")
    parser.add_argument("--target-views", metavar="6-11", help="held-out views (default: all that are not input)")
    parser.add_argument(
        "--few", type=int, default=0, metavar="N", help="evenly spread samples of all rows but the first"
    )
    parser.add_argument("--refine", type=int, nargs="+", default=[], metavar="N", help="also with so many steps each")
    parser.add_argument("--unit", type=float, default=1.0, metavar="MM", help="millimetres of one unit of the samples")
    parser.add_argument("--device", default="auto", choices=["auto", "cpu", "cuda"])
    cli.add_overrides(parser)
    arguments = parser.parse_args()
    if arguments.few < 0 or any(steps < 1 for steps in arguments.refine):
        parser.error("--few must not be negative, nor --refine less than 1")
    if not 0 < arguments.unit < float("inf"):
        parser.error("--unit must be a number of millimetres")
    return arguments


def measure_all(
    store: "Store",
    settings: "list[Setting]",
    cases: "Cases",
    reconstructor: "Reconstructor",
    *,
    every: tuple[int, ...],
    few: int,
) -> "dict[str, list[ViewScore]]":
    """Scores of all samples under the first setting, of `few` evenly spread ones (0 for all) under the others."""
    from gslrm.evaluation.protocol import spread

    directories = list(cases)
    chosen = [directories[place] for place in spread(len(directories), few or len(directories))]
    scores = {}
    for number, setting in enumerate(settings):
        judged = chosen if number else directories
        measure(store, setting, {path: cases[path] for path in judged}, reconstructor, every)
        scores[setting.name] = store.scores(setting, judged)
    return scores


def measure(
    store: "Store", setting: "Setting", cases: "Cases", reconstructor: "Reconstructor", every: tuple[int, ...]
) -> None:
    """Score the samples that have no scores under a setting yet."""
    from gslrm.scorecard.scores import score_setting

    missing = store.missing(setting, list(cases))
    for directory in cli.track(missing, setting.label) if missing else ():
        sample, targets = cases[directory]
        store.add(setting, directory, score_setting(reconstructor, sample, setting, every=every, targets=targets))


def time_samples(
    reconstructor: "Reconstructor", cases: "list[tuple[Sample, tuple[int, ...]]]", every: tuple[int, ...]
) -> dict[str, Any]:
    """Seconds of the first few samples."""
    from gslrm.scorecard.seconds import measure_seconds

    return measure_seconds(reconstructor, cases[:TIMED_SAMPLES], every)


if __name__ == "__main__":
    cli.run(main)
