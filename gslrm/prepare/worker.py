"""What one process does with one moment of a recording: masks, placement, resampling, proof, files."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from gslrm.data.images import encode_png
from gslrm.data.mask_quality import mask_quality
from gslrm.data.sightings import Sighting, find_object
from gslrm.errors import UserError
from gslrm.prepare.frames import Frame, FrameError
from gslrm.prepare.mask_sources import MaskSource
from gslrm.prepare.options import Options
from gslrm.prepare.output import OutputFolder, Record
from gslrm.prepare.recording import Recording
from gslrm.prepare.sample import PreparedView, in_world, keypoints_in_views, pinhole_views, place, sightings
from gslrm.prepare.usable import LIMITS, raw_strip, unusable
from gslrm.proof.prove import prove
from gslrm.proof.stored import unreadable
from gslrm.proof.thumbnail import thumbnail
from gslrm.similarity import Similarity


@dataclass(frozen=True)
class Moment:
    """A moment that has been prepared in memory, with what was found out about it."""

    record: Record
    views: list[PreparedView]
    seen: list[Sighting]
    world_from_source: Similarity | None
    picture: bytes | None

    @property
    def is_good(self) -> bool:
        """Whether it may become a sample."""
        return not self.record["reasons"]

    def encoded_bytes(self) -> int:
        """Size of the views' pictures and masks on disk."""
        arrays = [array for view in self.views for array in (view.image, view.mask)]
        return sum(len(encode_png(array)) for array in arrays)


@dataclass(frozen=True)
class Worker:
    """Everything that is needed to prepare any moment of a recording; sent to each process once."""

    recording: Recording
    masks: MaskSource
    options: Options
    output: OutputFolder
    world_from_source: Similarity | None = None
    """Of `world: recording`."""

    def prepare(self, times: Sequence[int]) -> int:
        """Prepare moments and write them, or why they are no samples.

        Returns:
            How many were prepared.

        Raises:
            UserError: files cannot be written.
        """
        for moment in self.moments(times):
            if moment.is_good:
                self.output.write(moment.views, moment.record, moment.world_from_source)
            else:
                self.output.reject(moment.record, moment.picture)
        return len(times)

    def moments(self, times: Sequence[int]) -> Iterator[Moment]:
        """Prepare ascending moments in memory; what is wrong with one stands in its record."""
        for time, pictures, given in zip(times, self.recording.read(times), self.masks.read(times), strict=True):
            try:
                if isinstance(pictures, FrameError):
                    raise pictures
                if isinstance(given, FrameError):
                    raise given
                yield self._moment(time, pictures, given)
            except UserError as error:
                yield self._failed(time, str(error), None)

    def _moment(self, time: int, pictures: list[Frame], given: list[Frame] | None) -> Moment:
        rig, options = self.recording.rig, self.options
        masked = self.masks.masker(pictures, given)
        reason = unusable(rig.names, [mask_quality(*pair) for pair in zip(masked.coverages, pictures, strict=True)])
        if reason is not None:
            return self._failed(time, reason, raw_strip(rig.names, pictures, masked.coverages))
        seen = sightings(masked.coverages, rig.cameras)
        found, placement = find_object(seen), place(seen, options)
        views = pinhole_views(
            masked.colours,
            rig,
            None if options.crop == "whole" else placement,
            pictures if options.keep_background else None,
        )
        labels = self.recording.labels(time)
        proof = prove(
            rig.names,
            [view.image for view in views],
            [view.coverage for view in views],
            [view.camera for view in views],
            keypoints=None if labels is None else keypoints_in_views(labels, views, rig),
            limits=LIMITS,
        )
        similarity = None
        if options.world != "rig":
            similarity = self.world_from_source or placement.world_from_source
        record = proof.record(self.recording.name(time), float(self.recording.frames[time, 0])) | {
            "center": found.center.tolist(),
            "diameter": found.diameter,
            "mask_added": list(masked.added),
            "mask_removed": list(masked.removed),
        }
        picture = None if proof.passed else thumbnail(proof, [view.image for view in views])
        return Moment(record, views if similarity is None else in_world(views, similarity), seen, similarity, picture)

    def _failed(self, time: int, reason: str, picture: bytes | None) -> Moment:
        record = unreadable(self.recording.name(time), reason) | {"time": float(self.recording.frames[time, 0])}
        return Moment(record, [], [], None, picture)
