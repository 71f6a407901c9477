"""Frames of one camera by number, from video files or a folder of pictures."""

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol, runtime_checkable

import av
import numpy as np
from av.error import FFmpegError
from jaxtyping import UInt8

from gslrm.data.images import image_size, read_image
from gslrm.errors import UserError

VIDEO_SUFFIXES = (".mp4", ".avi", ".mov", ".mkv", ".m4v", ".mpg")
PICTURE_SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff")
# AVI knows the order of decoding only: after a jump in one with two-way prediction, stamps are those of other frames.
WITH_PRESENTATION_STAMPS = ("mov,mp4,m4a,3gp,3g2,mj2", "matroska,webm")
DIGITS = re.compile(r"\d+")

Frame = UInt8[np.ndarray, "h w 3"]


class FrameError(UserError):
    """One frame cannot be read; the rest of the recording may be fine."""


@runtime_checkable
class FrameSource(Protocol):
    """Frames of one camera: how many, how large, and any of them in ascending order."""

    @property
    def count(self) -> int:
        """Number of frames."""
        ...

    @property
    def width(self) -> int:
        """Of a frame, in pixels."""
        ...

    @property
    def height(self) -> int:
        """Of a frame, in pixels."""
        ...

    def read(self, wanted: Iterable[int]) -> Iterator[Frame]:
        """RGB frames in the order asked for, which must be ascending.

        Raises:
            FrameError: a frame cannot be decoded.
        """
        ...


def open_frames(place: Path) -> "FrameSource":
    """Frames of a video file, or of a folder with a video, numbered chunks of one, or pictures.

    Raises:
        UserError: nothing usable is there, or a file is damaged or cut short.
    """
    if place.is_file():
        return VideoFrames.open([place])
    found = sorted(path for path in place.iterdir() if path.is_file() and not path.name.startswith("."))
    videos = [path for path in found if path.suffix.lower() in VIDEO_SUFFIXES]
    pictures = [path for path in found if path.suffix.lower() in PICTURE_SUFFIXES]
    if videos and pictures:
        raise UserError(f"{place}: holds both videos and pictures; keep one kind")
    if videos:
        return VideoFrames.open(in_number_order(videos))
    if pictures:
        return PictureFrames.open(in_number_order(pictures))
    raise UserError(f"{place}: holds neither a video ({', '.join(VIDEO_SUFFIXES)}) nor pictures")


def in_number_order(paths: Sequence[Path]) -> list[Path]:
    """Paths by the last number in their names, so that 3000 follows 0 and 10 follows 9.

    Raises:
        UserError: there are several, and their names do not number them.
    """
    if len(paths) == 1:
        return list(paths)
    numbers = {}
    for path in paths:
        digits = DIGITS.findall(path.stem)
        if not digits or int(digits[-1]) in numbers:
            raise UserError(f"{path}: the files of one camera must be numbered, such as 0.mp4 and 3000.mp4")
        numbers[int(digits[-1])] = path
    return [numbers[number] for number in sorted(numbers)]


@dataclass(frozen=True)
class PictureFrames:
    """A folder of pictures, one per frame, in the order of the numbers in their names."""

    paths: tuple[Path, ...]
    width: int
    height: int

    @staticmethod
    def open(paths: Sequence[Path]) -> "PictureFrames":
        """Take the size from the first picture.

        Raises:
            UserError: it cannot be read.
        """
        width, height = image_size(paths[0])
        return PictureFrames(tuple(paths), width, height)

    @property
    def count(self) -> int:
        """Number of frames."""
        return len(self.paths)

    def read(self, wanted: Iterable[int]) -> Iterator[Frame]:
        """See `FrameSource`."""
        for number in wanted:
            path = self.paths[number]
            try:
                picture = read_image(path)
            except UserError as error:
                raise FrameError(str(error)) from error
            if picture.shape[:2] != (self.height, self.width):
                raise FrameError(f"{path}: {picture.shape[1]}x{picture.shape[0]}, not {self.width}x{self.height}")
            yield np.rint(picture[..., :3] * 255).astype(np.uint8)


@dataclass(frozen=True)
class Chunk:
    """One video file: the time stamps of its frames in showing order, and which of them are key frames."""

    path: Path
    stamps: np.ndarray = field(repr=False)
    keys: np.ndarray = field(repr=False)


@dataclass(frozen=True)
class VideoFrames:
    """A video in one or more files."""

    chunks: tuple[Chunk, ...]
    width: int
    height: int

    @staticmethod
    def open(paths: Sequence[Path]) -> "VideoFrames":
        """Read the index of every file, without decoding.

        Raises:
            UserError: a file is damaged, cut short or of another size.
        """
        chunks, sizes = zip(*(_read_index(path) for path in paths), strict=True)
        for chunk, size in zip(chunks, sizes, strict=True):
            if size != sizes[0]:
                raise UserError(
                    f"{chunk.path}: pictures are {size[0]}x{size[1]}, those before {sizes[0][0]}x{sizes[0][1]}"
                )
        return VideoFrames(tuple(chunks), *sizes[0])

    @property
    def count(self) -> int:
        """Number of frames of all files."""
        return sum(len(chunk.stamps) for chunk in self.chunks)

    def read(self, wanted: Iterable[int]) -> Iterator[Frame]:
        """See `FrameSource`."""
        numbers = list(wanted)
        first = 0
        for chunk in self.chunks:
            here = [number - first for number in numbers if first <= number < first + len(chunk.stamps)]
            if here:
                yield from _decode(chunk, here)
            first += len(chunk.stamps)


def _read_index(path: Path) -> tuple[Chunk, tuple[int, int]]:
    try:
        with av.open(str(path)) as container:
            if not container.streams.video:
                raise UserError(f"{path}: has no video stream")
            stream = container.streams.video[0]
            packets = [(p.pts, p.is_keyframe) for p in container.demux(stream) if p.size and not p.is_discard]
            promised = stream.frames
            size = (stream.width, stream.height)
    except (FFmpegError, OSError) as error:
        raise UserError(f"{path}: cannot be read as a video ({error}); it may be cut short: copy it again") from error
    if not packets:
        raise UserError(f"{path}: holds no frames")
    if len(packets) < promised:
        raise UserError(
            f"{path}: cut short: its header promises {promised} frames, {len(packets)} are there; copy it again"
        )
    if any(stamp is None for stamp, _ in packets):
        raise UserError(f"{path}: frames have no time stamps; rewrite it with: ffmpeg -i IN -c copy OUT.mp4")
    packets.sort()
    stamps = np.array([stamp for stamp, _ in packets])
    return Chunk(path, stamps, np.flatnonzero([key for _, key in packets])), size


def _decode(chunk: Chunk, numbers: list[int]) -> Iterator[Frame]:
    try:
        with av.open(str(chunk.path)) as container:
            decoder = _Decoder(chunk, container)
            for number in numbers:
                yield decoder.picture(number)
    except FFmpegError as error:
        raise FrameError(f"{chunk.path}: damaged ({error})") from error


class _Decoder:
    """Walks through one file; jumps to the last key frame before a picture that is far ahead."""

    def __init__(self, chunk: Chunk, container: av.container.InputContainer) -> None:
        self.chunk = chunk
        self.container = container
        self.stream = container.streams.video[0]
        self.stream.thread_type = "NONE"  # frames are prepared in parallel already
        self.frames = container.decode(self.stream)
        self.next = 0
        self.may_jump = container.format.name in WITH_PRESENTATION_STAMPS

    def picture(self, number: int) -> Frame:
        keys = self.chunk.keys[self.chunk.keys <= number]
        if self.may_jump and len(keys) and keys[-1] > self.next:
            self.container.seek(int(self.chunk.stamps[keys[-1]]), stream=self.stream)
            self.frames = self.container.decode(self.stream)
        frame = self._first_from(number)
        if frame is None or frame.pts != self.chunk.stamps[number] or frame.is_corrupt:
            raise FrameError(f"{self.chunk.path}: frame {number} cannot be decoded; the file is damaged there")
        self.next = number + 1
        return frame.to_ndarray(format="rgb24")

    def _first_from(self, number: int) -> av.VideoFrame | None:
        stamp = self.chunk.stamps[number]
        return next((frame for frame in self.frames if frame.pts is not None and frame.pts >= stamp), None)
