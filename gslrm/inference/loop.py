"""The loop of inference: samples are read ahead, reconstructed in batches, and written behind."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch

from gslrm import cli
from gslrm.clean.reconstruction import clean_reconstruction
from gslrm.data.masks import read_view
from gslrm.data.placed_sample import PlacedSample, mask_policy
from gslrm.data.sample import read_sample
from gslrm.errors import UserError
from gslrm.export import write_json
from gslrm.inference.folder import FAILURES, OutputFolder
from gslrm.inference.tally import Failure, Tally
from gslrm.inference.task import Task
from gslrm.inference.threads import Behind, ahead
from gslrm.reconstruct import Reconstruction, Reconstructor, choose_inputs
from gslrm.refine import judged_refinement
from gslrm.training.outputs import SCORES, Write, draw_outputs

WAITING = 1  # samples per writing thread that are drawn and wait: their pictures are what takes memory
Loaded = tuple[Path, PlacedSample]


@dataclass(frozen=True)
class Pace:
    """How a run is carried out; none of it changes a sample."""

    batch: int = 1
    """Samples per forward pass."""
    workers: int = 2
    """Threads that read ahead, and as many that write; with 0 everything is done in turn."""


@dataclass(frozen=True)
class Summary:
    """How a run went; `seconds` by part of the work are those of all threads together."""

    done: int
    failures: tuple[Failure, ...]
    elapsed: float
    seconds: Mapping[str, float]

    def text(self, *, complete: int, listed: int) -> str:
        """A few lines for the user; `complete` samples were there already, `listed` failures are named."""
        rate = f", {self.done / self.elapsed:.2f} frames/s" if self.done else ""
        lines = [f"{self.done} samples in {self.elapsed:.1f} s{rate}; {complete} were complete before"]
        if self.seconds:
            lines.append("seconds: " + ", ".join(f"{part} {spent:.1f}" for part, spent in self.seconds.items()))
        if self.failures:
            lines.append(f"{len(self.failures)} failed, see {FAILURES}:")
            lines += [f"  {failure.sample}: {failure.reason}" for failure in self.failures[:listed]]
        if len(self.failures) > listed:
            lines.append(f"  and {len(self.failures) - listed} more")
        return "\n".join(lines)


def reconstruct_samples(
    reconstructor: Reconstructor,
    samples: Sequence[Path],
    output: OutputFolder,
    *,
    settings: Mapping[str, Any],
    task: Task,
    pace: Pace,
) -> Summary:
    """Reconstruct samples and write their outputs; those that cannot be done are listed, the others are finished.

    Args:
        reconstructor: the trained network.
        samples: directories, from `OutputFolder.open`.
        output: where the results go.
        settings: from `describe_settings`, noted with every sample.
        task: what is asked of each sample.
        pace: how many at a time.

    Raises:
        UserError: nothing can be written any more, or memory does not suffice.
    """
    with cli.progress("reconstructing", len(samples)) as progress:
        tally = Tally(output, len(samples), progress)
        run = _Run(reconstructor, output, settings, task, tally)
        with (
            closing(ahead(run.load, samples, workers=pace.workers, limit=pace.batch + pace.workers)) as loading,
            Behind(workers=pace.workers, limit=(1 + WAITING) * pace.workers) as writing,
        ):
            for batch in _batches(_readable(loading, tally), pace.batch):
                for sample, reconstruction in zip(batch, run.forward(batch), strict=True):
                    run.finish(sample[0], reconstruction, writing)
    output.close()
    return Summary(tally.done, tuple(tally.failures), tally.elapsed, dict(tally.seconds))


@dataclass(frozen=True)
class _Run:
    reconstructor: Reconstructor
    output: OutputFolder
    settings: Mapping[str, Any]
    task: Task
    tally: Tally

    def load(self, directory: Path) -> PlacedSample:
        """A sample as the network sees it; what is asked for and not there is found out here."""
        with self.tally.timed("read"):
            sample = read_sample(directory)
            inputs = choose_inputs(self.reconstructor.config, sample, self.task.input_views)
            sample.select(self.task.render_views or ())
            policy = mask_policy(self.reconstructor.dataset, self.reconstructor.config.mouse)
            stored = [read_view(view, policy) for view in sample.select(inputs)]
        with self.tally.timed("normalise"):
            placement = None if self.task.shared is None else self.task.shared.of(directory)
            return self.reconstructor.place(sample, inputs, stored=stored, placement=placement)

    def forward(self, batch: Sequence[Loaded]) -> list[Reconstruction]:
        """The reconstructions of a batch."""
        try:
            with self.tally.timed("forward"):
                return self.reconstructor.reconstruct_batch([placed for _, placed in batch])
        except torch.OutOfMemoryError as error:
            cure = "lower --batch" if len(batch) > 1 else "take --device cpu, or fewer views with --input-views"
            raise UserError(f"the device has too little memory for {len(batch)} samples at once; {cure}") from error

    def finish(self, directory: Path, reconstruction: Reconstruction, writing: Behind) -> None:
        """Refine, clean and draw a reconstruction, and leave it to be written."""
        try:
            _require_finite(directory, reconstruction)
            writers = self.draw(reconstruction)
        except UserError as error:
            self.tally.fail(directory, error)
        else:
            writing.submit(partial(self.write, directory, writers, self.about(reconstruction.placed)))

    def draw(self, reconstruction: Reconstruction) -> dict[str, Write]:
        """All that is to be written of a reconstruction."""
        writers: dict[str, Write] = {}
        if self.task.refine:
            with self.tally.timed("refine"):
                refined = judged_refinement(self.reconstructor, reconstruction, self.task.refine)
            reconstruction = refined.reconstruction
            writers["refine"] = partial(_write_report, name="refine.json", report=refined.report)
        if self.task.filters:
            with self.tally.timed("clean"):
                reconstruction, report = clean_reconstruction(self.reconstructor, reconstruction, self.task.filters)
            writers["clean"] = partial(_write_report, name="clean.json", report=report)
        with self.tally.timed("render"):
            drawn = draw_outputs(self.reconstructor, reconstruction, self.task.render_views, video=self.task.video)
        return writers | drawn

    def about(self, placed: PlacedSample) -> dict[str, Any]:
        """What viewers must know of a sample: its input views, and the pixels that its Gaussians were made for."""
        density, center = placed.placement.density, placed.placement.center.tolist()
        grain = {"density": float(density), "center": center, "eps2d": self.reconstructor.config.render.eps2d}
        return {"input_views": placed.input_index, "grain": grain}

    def write(self, directory: Path, writers: Mapping[str, Write], about: Mapping[str, Any]) -> None:
        """Write one sample; only what keeps all others from being written too is raised."""
        try:
            begun = self.output.begin(directory.name)
            for name, write in writers.items():
                with self.tally.timed("score" if name == SCORES else "write"):
                    write(begun)
            folder = self.output.complete(directory, self.settings, about)
        except (UserError, OSError) as error:
            self.output.discard(directory.name)
            self.output.require_writable()
            self.tally.fail(directory, error)
        else:
            self.tally.succeed(folder)


def _readable(loading: Iterator[tuple[Path, PlacedSample | UserError]], tally: Tally) -> Iterator[Loaded]:
    for directory, placed in loading:
        if isinstance(placed, UserError):
            tally.fail(directory, placed)
        else:
            yield directory, placed


def _batches(loaded: Iterator[Loaded], size: int) -> Iterator[list[Loaded]]:
    """Up to `size` samples that follow one another and have equally many views of one size."""
    batch: list[Loaded] = []
    for item in loaded:
        if batch and item[1].input.images.shape != batch[0][1].input.images.shape:
            yield batch
            batch = []
        batch.append(item)
        if len(batch) == size:
            yield batch
            batch = []
    if batch:
        yield batch


def _require_finite(directory: Path, reconstruction: Reconstruction) -> None:
    bad = [name for name, value in vars(reconstruction.gaussians).items() if not value.isfinite().all()]
    if bad:
        raise UserError(
            f"{directory}: the network gives NaN or infinity for its {bad[0]}; look at its pictures and cameras, and "
            "if all samples fail use --set training.runtime.use_amp=false"
        )


def _write_report(folder: Path, *, name: str, report: Mapping[str, Any]) -> None:
    write_json(folder / name, report)
