"""A recording: one frame source per calibrated camera, paired in time."""

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from jaxtyping import Float

from gslrm.data.rig import Rig, RigCamera
from gslrm.errors import UserError
from gslrm.prepare.frames import VIDEO_SUFFIXES, Frame, FrameError, FrameSource, open_frames

ALWAYS_SYNCHRONISED = ("dannce",)  # formats that carry a sync table; one without it has lost it

_logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Recording:
    """Frames of all cameras, time by time.

    `frames` is int [T, V]: the frame of each camera's source at each time. A time is named after the frame of the first
    camera. `rows` [T] are the times' rows in the calibration's sync table, to which its labels refer.
    """

    rig: Rig
    sources: tuple[FrameSource, ...]
    frames: np.ndarray
    rows: np.ndarray

    def name(self, time: int) -> str:
        """Name of the sample made of this time, such as frame_000012."""
        return f"frame_{self.frames[time, 0]:06d}"

    def select(self, wanted: slice) -> list[int]:
        """Times whose frame of the first camera lies in a slice; its step counts times.

        Raises:
            UserError: there are none.
        """
        first, stop, step = wanted.start or 0, wanted.stop, wanted.step or 1
        inside = (self.frames[:, 0] >= first) & (self.frames[:, 0] < (np.inf if stop is None else stop))
        times = np.flatnonzero(inside)[::step].tolist()
        if not times:
            raise UserError(
                f"--frames selects nothing; the recording has frames {self.frames[0, 0]} to {self.frames[-1, 0]}"
            )
        return times

    def labels(self, time: int) -> Float[np.ndarray, "v j 2"] | None:
        """Keypoints that people marked at a time, in raw pixels, NaN where none is marked."""
        if self.rig.labels is None:
            return None
        found = np.flatnonzero(self.rig.labels.time == self.rows[time])
        return self.rig.labels.pixel[found[0]] if len(found) else None

    def read(self, times: Sequence[int]) -> Iterator[list[Frame] | FrameError]:
        """Pictures of all cameras at ascending times; where a frame is damaged, the error in their place."""
        streams = [_Stream(source, self.frames[times, view].tolist()) for view, source in enumerate(self.sources)]
        for _ in times:
            pictures = [stream.next() for stream in streams]
            damaged = [picture for picture in pictures if isinstance(picture, FrameError)]
            yield damaged[0] if damaged else [p for p in pictures if not isinstance(p, FrameError)]

    def readable(self, view: int, times: Sequence[int]) -> Iterator[Frame]:
        """Pictures of one camera at ascending times, without damaged ones."""
        stream = _Stream(self.sources[view], self.frames[times, view].tolist())
        for _ in times:
            picture = stream.next()
            if not isinstance(picture, FrameError):
                yield picture


class _Stream:
    """One camera's pictures; goes on behind a damaged one."""

    def __init__(self, source: FrameSource, wanted: list[int]) -> None:
        self.source = source
        self.wanted = wanted
        self.pictures = source.read(wanted)

    def next(self) -> Frame | FrameError:
        self.wanted = self.wanted[1:]
        try:
            return next(self.pictures)
        except FrameError as error:
            self.pictures = self.source.read(self.wanted)
            return error


def open_recording(
    videos: Path, rig: Rig, *, cameras: Mapping[str, str] | None = None, pair_by_index: bool = False
) -> Recording:
    """Join the pictures under `videos` with their cameras.

    Args:
        videos: one folder or video file per camera, named after it.
        rig: calibration.
        cameras: for each camera of the rig that is to be used, the name of its folder or file.
        pair_by_index: frame t of all videos belong together, whatever the calibration says.

    Raises:
        UserError: cameras and videos do not match in number, name, size or length, or the sync table is missing or asks
            for frames that no video has.
    """
    if cameras:
        unknown = sorted(set(cameras) - set(rig.names))
        if unknown:
            raise UserError(f"--cameras names {', '.join(unknown)}; {rig.source} has {', '.join(rig.names)}")
        kept = [index for index, name in enumerate(rig.names) if name in cameras]
        rig = replace(
            rig,
            cameras=tuple(rig.cameras[index] for index in kept),
            frames=None if rig.frames is None else rig.frames[:, kept],
            labels=None if rig.labels is None else replace(rig.labels, pixel=rig.labels.pixel[:, kept]),
        )
    places = _match(videos, rig, cameras or {})
    sources = tuple(open_frames(place) for place in places)
    sized = tuple(_with_size(*parts, rig) for parts in zip(rig.cameras, sources, places, strict=True))
    rig = replace(rig, cameras=sized, labels=None if pair_by_index else rig.labels)
    return Recording(rig, sources, *_pair(rig, sources, places, pair_by_index))


def _match(videos: Path, rig: Rig, cameras: Mapping[str, str]) -> list[Path]:
    if not videos.is_dir():
        raise UserError(f"{videos}: not a directory; give the one that holds a folder or a video per camera")
    places = {
        path.stem if path.is_file() else path.name: path
        for path in sorted(videos.iterdir())
        if not path.name.startswith(".") and (path.is_dir() or path.suffix.lower() in VIDEO_SUFFIXES)
    }
    wanted = [cameras.get(name, name) for name in rig.names]
    missing = [name for name in wanted if name not in places]
    extra = [name for name in places if name not in wanted]
    if missing or (extra and not cameras):
        raise UserError(
            f"{videos}: holds {len(places)} cameras ({', '.join(places) or 'none'}), but {rig.source} has "
            f"{len(rig.cameras)} ({', '.join(rig.names)}); say which belongs to which with --cameras NAME=FOLDER,..."
        )
    return [places[name] for name in wanted]


def _with_size(camera: RigCamera, source: FrameSource, place: Path, rig: Rig) -> RigCamera:
    calibrated = (camera.width, camera.height)
    if None not in calibrated and calibrated != (source.width, source.height):
        raise UserError(
            f"{place}: pictures are {source.width}x{source.height}, but {rig.source} was made for "
            f"{camera.width}x{camera.height}; use the pictures that were calibrated, neither cropped nor scaled"
        )
    centre = camera.intrinsics[:2, 2]
    if not ((centre > 0) & (centre < (source.width, source.height))).all():
        raise UserError(
            f"{rig.source}: the principal point of {camera.name} ({centre[0]:.0f}, {centre[1]:.0f}) lies outside its "
            f"{source.width}x{source.height} pictures ({place}); the calibration belongs to another picture size"
        )
    return replace(camera, width=source.width, height=source.height)


def _pair(
    rig: Rig, sources: Sequence[FrameSource], places: Sequence[Path], pair_by_index: bool
) -> tuple[np.ndarray, np.ndarray]:
    """Frames of the cameras at each time, and its row in the sync table."""
    counts = np.array([source.count for source in sources])
    if rig.frames is None or pair_by_index:
        if rig.format in ALWAYS_SYNCHRONISED and not pair_by_index:
            raise UserError(
                f"{rig.source}: has no sync table; export it with its sync, or say --sync index if frame t of every "
                "video was taken at the same moment"
            )
        if (counts != counts[0]).any():
            lengths = ", ".join(f"{place.name} {count}" for place, count in zip(places, counts, strict=True))
            raise UserError(
                f"{places[0].parent}: the videos differ in length ({lengths} frames), so they cannot be paired by "
                "number; cut them to the same moments, or give a calibration with a sync table"
            )
        return np.repeat(np.arange(counts[0])[:, None], len(sources), axis=1), np.arange(counts[0])
    beyond = (rig.frames < 0) | (rig.frames >= counts)
    if beyond.any():
        time, view = np.argwhere(beyond)[0]
        raise UserError(
            f"{rig.source}: its sync table asks for frame {rig.frames[time, view]} of {rig.names[view]}, but "
            f"{places[view]} has {counts[view]} frames; the video is not the one that was synchronised, or is cut short"
        )
    ascending = (np.diff(rig.frames, axis=0, prepend=-1) >= 0).all(axis=1)
    fresh = np.diff(rig.frames[:, 0], prepend=-1) > 0
    if not ascending.all():
        raise UserError(f"{rig.source}: its sync table runs backwards at row {int(np.argmin(ascending))}")
    if not fresh.all():
        _logger.warning("%s: %d times repeat a frame of %s and are left out", rig.source, (~fresh).sum(), rig.names[0])
    return rig.frames[fresh], np.flatnonzero(fresh)
