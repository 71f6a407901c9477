"""Check samples in FaceLift's layout: that cameras, pictures and masks belong together, in pixels.

    python scripts/check_data.py --data data_mouse_local/data_mouse_train.txt --output experiments/check

Takes one sample, a directory of samples or a list file. Prints a line for every sample (of more than 40 only for those
that fail) with the likely cause and the cure. With --output, writes report.html, report.json and samples.jsonl (all
figures). Ends with status 0 if all samples pass, 1 if one fails, 2 if nothing could be checked.
"""

import argparse
import json
import multiprocessing
import os
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gslrm.cli import report, run, track
from gslrm.errors import UserError

if TYPE_CHECKING:
    from gslrm.proof.limits import Limits
    from gslrm.proof.stored import Checked

MAX_LINES = 40  # samples whose lines are printed although they pass


def main() -> int:
    """Parse, prove every sample, print the table, write the report."""
    arguments = _parse()

    from gslrm.data.lists import find_samples

    directories = find_samples(arguments.data)
    limits = _limits(arguments.limit)
    names = _names(directories)
    records, pictures = _check_all(directories, names, arguments, limits)
    width = max(len(name) for name in names)
    for record in records:
        if not record["passed"] or len(records) <= MAX_LINES:
            report(_line(record, width))
    failed = sum(not record["passed"] for record in records)
    report(f"{failed} of {len(records)} samples fail" if failed else f"all {len(records)} samples pass")
    _write(records, pictures, arguments, limits)
    return 1 if failed else 0


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="a sample, a directory of samples or a list file")
    parser.add_argument("--output", type=Path, help="directory for report.html, report.json and samples.jsonl")
    parser.add_argument("--json", type=Path, help="file for the summary and all failures as JSON")
    parser.add_argument(
        "--limit", metavar="NAME=VALUE", nargs="+", action="extend", default=[], help="other limits, as tangent=5"
    )
    parser.add_argument("--mask-threshold", type=int, default=250, help="of 255: brighter is background without masks")
    parser.add_argument("--workers", type=int, default=0, help="processes (default: one per core)")
    return parser.parse_args()


def _limits(overrides: list[str]) -> "Limits":
    from dataclasses import fields, replace

    from gslrm.proof.limits import Limits

    known = {field.name: field.type for field in fields(Limits)}
    values: dict[str, Any] = {}
    for override in overrides:
        name, _, value = override.partition("=")
        if name not in known:
            raise UserError(f"--limit {override}: no limit {name!r}; there are {', '.join(known)}")
        try:
            values[name] = known[name](value)  # type: ignore[operator]
        except ValueError as error:
            raise UserError(f"--limit {override}: {value!r} is no number") from error
    return replace(Limits(), **values)


def _names(directories: list[Path]) -> list[str]:
    """Directory names, or whole paths where two samples have the same one."""
    short = [directory.resolve().name for directory in directories]
    return short if len(set(short)) == len(short) else [str(directory) for directory in directories]


def _check_all(
    directories: list[Path], names: list[str], arguments: argparse.Namespace, limits: "Limits"
) -> tuple[list[dict[str, Any]], dict[str, bytes]]:
    from gslrm.data.masks import MaskPolicy
    from gslrm.proof.album import Album
    from gslrm.proof.stored import check_sample

    policy = MaskPolicy(auto_generate=True, threshold=arguments.mask_threshold)
    check = partial(check_sample, policy=policy, limits=limits)
    album, records = Album(len(directories)), []
    with ExitStack() as stack:
        results: Iterator[Checked] = map(check, directories, names)
        workers = min(arguments.workers or _available_cores(), len(directories))
        if workers > 1:
            context = multiprocessing.get_context("spawn")  # a fork of a process with threads may never end
            pool = stack.enter_context(ProcessPoolExecutor(workers, mp_context=context, initializer=_use_one_thread))
            results = pool.map(check, directories, names)
        for checked in track(results, "checking", len(directories)):
            records.append(checked.record)
            if checked.picture is not None:
                album.offer(checked.record, partial(bytes, checked.picture))
    return records, album.pictures


def _line(record: dict[str, Any], width: int) -> str:
    state = "pass" if record["passed"] else "FAIL"
    figures = " ".join(
        f"{key} {record[key]:5.1f} px" if record[key] is not None else f"{key}     - px" for key in ("tangent", "hull")
    )
    remarks = [*record["reasons"], *([record["diagnosis"]] if record["diagnosis"] else [])]
    remarks += [f"note: {warning}" for warning in record["warnings"]]
    return f"{record['sample']:{width}s}  {state}  {figures}  {'; '.join(remarks)}".rstrip()


def _write(
    records: list[dict[str, Any]], pictures: dict[str, bytes], arguments: argparse.Namespace, limits: "Limits"
) -> None:
    from gslrm.export import replacing, write_json
    from gslrm.proof.report import as_json, write_report
    from gslrm.proof.summary import summarize

    if arguments.json:
        write_json(arguments.json, as_json(summarize(records), limits))
    if arguments.output:
        with replacing(arguments.output / "samples.jsonl") as temporary:
            temporary.write_text("".join(json.dumps(record) + "\n" for record in records), encoding="utf-8")
        title = f"Check of {arguments.data.name}"
        write_report(arguments.output, records, pictures=pictures, limits=limits, title=title)
        report(str(arguments.output / "report.html"))


def _use_one_thread() -> None:
    import cv2
    import torch

    torch.set_num_threads(1)
    cv2.setNumThreads(1)


def _available_cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


if __name__ == "__main__":
    run(main)
