"""The preparation of a whole recording: probe it, prepare all moments in parallel, list them, report."""

import hashlib
import logging
import time as clock
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch

from gslrm import cli
from gslrm.data.calibration import check_unit, read_calibration
from gslrm.data.sample import CAMERA_FILE
from gslrm.data.sightings import find_object
from gslrm.errors import UserError
from gslrm.export import replacing
from gslrm.prepare.mask_sources import open_masks
from gslrm.prepare.options import Options
from gslrm.prepare.output import OutputFolder, Record
from gslrm.prepare.recording import open_recording
from gslrm.prepare.report import report_preparation
from gslrm.prepare.sample import world_of_recording
from gslrm.prepare.timeline import Split, segments, split_by_blocks
from gslrm.prepare.worker import Moment, Worker
from gslrm.similarity import Similarity

PROBES = 5  # moments prepared in memory before anything is written
CHUNKS_PER_WORKER = 8
LONGEST_CHUNK = 32  # moments; each chunk begins with decoding from a key frame
DISK_MARGIN = 1.2  # samples differ in size

_logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Plan:
    """How a preparation is carried out; none of it changes a sample."""

    output: Path
    frames: slice
    workers: int
    val_share: float
    val_blocks: int
    gap: int


def prepare(options: Options, plan: Plan) -> str:
    """Prepare a recording, or go on with it.

    Returns:
        What was done, in a few lines.

    Raises:
        UserError: the recording, its calibration or the output folder cannot be used; nothing half-written is left.
    """
    rig = read_calibration(options.calibration, format=options.format)
    rig = check_unit(rig, options.unit)
    recording = open_recording(options.videos, rig, cameras=dict(options.cameras), pair_by_index=options.pair_by_index)
    times = recording.select(plan.frames)
    output = OutputFolder(plan.output)
    masks = open_masks(recording, options)
    times = masks.available(times)
    worker = Worker(recording, masks, options, output)
    worker = _probe(worker, times)
    output.open(_recipe(options, worker.world_from_source))
    _run(worker, [time for time in times if not output.is_done(recording.name(time))], len(times), plan.workers)
    return _finish(worker, times, plan)


def _probe(worker: Worker, times: Sequence[int]) -> Worker:
    """Prepare a few moments in memory: is anything usable, will the disk hold all, where is the recording's world."""
    spread = sorted({times[round(place)] for place in np.linspace(0, len(times) - 1, PROBES)})
    moments = list(worker.moments(spread))
    good = [moment for moment in moments if moment.is_good]
    if not good:
        raise UserError(_hopeless(worker, moments))
    if worker.masks.is_survey:
        _require_roaming(worker)
    if worker.options.world == "recording":
        worker = replace(worker, world_from_source=_world(worker, good))
    missing = [time for time in times if not worker.output.is_done(worker.recording.name(time))]
    _require_room(worker.output, good, len(missing))
    return worker


def _world(worker: Worker, moments: Sequence[Moment]) -> Similarity:
    """The recording's world: that of the samples already written, else from these moments."""
    earlier = worker.output.recipe()
    if earlier is not None and earlier.get("world_from_source") is not None:
        return Similarity.from_matrix(torch.tensor(earlier["world_from_source"], dtype=torch.float64))
    return world_of_recording([find_object(moment.seen) for moment in moments], moments[0].seen, worker.options)


def _require_roaming(worker: Worker) -> None:
    """Refuse to learn the background from a recording in which the animal never leaves it.

    Raises:
        UserError: the animal stays within its own length, so that nobody knows what is behind it.
    """
    count = len(worker.recording.frames)
    moments = worker.moments(sorted({round(place) for place in np.linspace(0, count - 1, PROBES)}))
    found = [find_object(moment.seen) for moment in moments if moment.seen]
    if not found:
        return
    places = torch.stack([animal.center for animal in found])
    roamed, length = float(torch.cdist(places, places).max()), float(np.median([animal.diameter for animal in found]))
    if roamed >= length:
        return
    sentence = (
        f"{worker.options.videos}: the animal moves {roamed:.3g} in this recording and is {length:.3g} long, so what "
        "lies behind it is never seen; give pictures of the empty scene with --background, or masks with --masks"
    )
    if worker.options.mask_source == "auto":
        raise UserError(f"{sentence} (--mask-source temporal goes on all the same)")
    _logger.warning("%s", sentence)


def _hopeless(worker: Worker, moments: Sequence[Moment]) -> str:
    """Why none of the probes can be used; each reason once."""
    reasons: dict[str, list[str]] = {}
    for moment in moments:
        reasons.setdefault(moment.record["reasons"][0], []).append(moment.record["sample"])
    told = "; ".join(f"{', '.join(names)}: {reason}" for reason, names in reasons.items())
    hint = "; the background was learned from the recording itself: give --background or --masks"
    return (
        f"{worker.options.videos}: none of {len(moments)} evenly spread moments can be used ({told})"
        f"{hint if worker.masks.is_survey else ''}"
    )


def _require_room(output: OutputFolder, moments: Sequence[Moment], count: int) -> None:
    size = max(moment.encoded_bytes() for moment in moments)
    needed, free = count * size * DISK_MARGIN, output.free_bytes()
    _logger.info(
        "%d samples of about %.1f MB need %.2f GB; %.1f GB are free", count, size / 1e6, needed / 1e9, free / 1e9
    )
    if needed > free:
        raise UserError(
            f"--output {output.root}: {count} samples need about {needed / 1e9:.1f} GB, {free / 1e9:.1f} GB are free; "
            "make room, or take fewer frames with --frames A:B:STEP"
        )


def _run(worker: Worker, todo: Sequence[int], total: int, workers: int) -> None:
    start, written = clock.monotonic(), 0
    with cli.progress("preparing", total, done=total - len(todo)) as task, _mapped(worker, todo, workers) as finished:
        for count in finished:
            written += count
            rate = written / (clock.monotonic() - start)
            task.advance(count, f"{rate:.2f} samples/s, {(len(todo) - written) / rate:.0f} s left")


@contextmanager
def _mapped(worker: Worker, todo: Sequence[int], workers: int) -> Iterator[Iterator[int]]:
    """Chunks of moments being prepared in threads; a failure in any of them ends the run.

    Threads, because decoding, OpenCV and the compiled kernels release the interpreter lock, and because libraries and
    background models then lie in memory once.
    """
    length = int(np.clip(len(todo) // (CHUNKS_PER_WORKER * workers), 1, LONGEST_CHUNK))
    chunks = [todo[first : first + length] for first in range(0, len(todo), length)]
    with _one_thread_each(), ThreadPoolExecutor(workers) as pool:
        futures = [pool.submit(worker.prepare, chunk) for chunk in chunks]
        try:
            yield (future.result() for future in as_completed(futures))
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


@contextmanager
def _one_thread_each() -> Iterator[None]:
    """Keep the libraries from using threads of their own within ours."""
    before = cv2.getNumThreads(), torch.get_num_threads()
    cv2.setNumThreads(1)
    torch.set_num_threads(1)
    try:
        yield
    finally:
        cv2.setNumThreads(before[0])
        torch.set_num_threads(before[1])


def _finish(worker: Worker, times: Sequence[int], plan: Plan) -> str:
    recording, output = worker.recording, worker.output
    names = [recording.name(time) for time in times]
    written = [name for name in names if (output.root / name / CAMERA_FILE).is_file()]
    records = [_place(record) for record in output.records(written)]
    frames = np.array([frame for frame, _, _ in records], dtype=np.int64)
    centres = np.array([center for _, center, _ in records]).reshape(-1, 3)
    stretches = segments(frames, centres, diameter=float(np.median([size for *_, size in records] or [1.0])))
    split = _split(frames, plan)
    _write_lists(output.root, written, split)
    extra = {
        "stretches": [[written[first], written[last]] for first, last in stretches],
        "train": len(split.train),
        "validation": len(split.validation),
    }
    first_camera = recording.rig.names[0]
    report_preparation(output, names, worker.options, first_camera=first_camera, extra=extra)
    return (
        f"{len(written)} samples ({len(split.train)} to train, {len(split.validation)} to validate), "
        f"{len(names) - len(written)} moments rejected, {len(stretches)} stretches without a jump"
        f"\n{output.root / 'report.html'}"
    )


def _split(frames: np.ndarray, plan: Plan) -> Split:
    try:
        return split_by_blocks(frames, share=plan.val_share, blocks=plan.val_blocks, gap=plan.gap)
    except UserError as error:
        _logger.warning("no validation list: %s", error)
        return split_by_blocks(frames, share=0.0, blocks=1, gap=0)


def _write_lists(root: Path, names: Sequence[str], split: Split) -> None:
    for positions, file in ((split.train, "data_mouse_train.txt"), (split.validation, "data_mouse_val.txt")):
        if not positions:
            (root / file).unlink(missing_ok=True)
            continue
        with replacing(root / file) as temporary:
            temporary.write_text("".join(f"{names[position]}\n" for position in positions))


def _place(record: Record) -> tuple[int, list[float], float]:
    return round(record["time"]), record["center"], record["diameter"]


def _recipe(options: Options, world_from_source: Similarity | None) -> dict[str, Any]:
    """What must be equal for a run to go on with the samples of another."""
    digest = hashlib.sha256(options.calibration.read_bytes()).hexdigest() if options.calibration.is_file() else None
    world = None if world_from_source is None else world_from_source.matrix().tolist()
    return options.to_json() | {"calibration_sha256": digest, "world_from_source": world}
