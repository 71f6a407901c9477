"""Frames to an H.264 MP4 file."""

from collections.abc import Iterable
from contextlib import closing
from pathlib import Path
from typing import Any

import av
import imageio_ffmpeg
import numpy as np
from av.error import FFmpegError
from jaxtyping import UInt8

from gslrm.export.files import AnyPath, replacing

VIDEO_OPTIONS = (  # visually lossless; colours converted and tagged alike, or players guess; playable while loading
    "-preset veryfast -crf 18 -movflags +faststart "  # medium takes twice the time for files of the same size
    "-color_range tv -colorspace bt709 -color_primaries bt709 -color_trc bt709 "
    "-vf scale=out_color_matrix=bt709:out_range=tv,setparams=color_primaries=bt709:color_trc=bt709"
)


def write_video(path: AnyPath, frames: Iterable[UInt8[np.ndarray, "h w 3"]], fps: int = 30) -> None:
    """Stream frames into an H.264 MP4 that browsers and QuickTime play.

    The format needs even sides; a frame with an odd one is extended by its last row or column.

    Raises:
        ValueError: there is no frame, or a frame has another size than the first.
    """
    first = next(frames := iter(frames), None)
    if first is None:
        raise ValueError(f"write_video: no frames for {path}")
    with replacing(path) as temporary:
        with closing(_encoder(temporary, first.shape, fps)) as encoder:
            encoder.send(None)
            encoder.send(_even(first))
            count = 1
            for frame in frames:
                if frame.shape != first.shape:
                    raise ValueError(f"frame {count} has shape {frame.shape}, the first has {first.shape}")
                encoder.send(_even(frame))
                count += 1
        written = _listed_frames(temporary)
        if written != count:  # the encoder's exit status is not passed on
            raise OSError(f"the encoder wrote {written} of {count} frames")


def _encoder(path: Path, shape: tuple[int, ...], fps: int) -> Any:
    height, width = (size + size % 2 for size in shape[:2])
    return imageio_ffmpeg.write_frames(
        path,
        (width, height),
        fps=fps,
        codec="libx264",
        pix_fmt_out="yuv420p",
        quality=None,
        macro_block_size=1,
        ffmpeg_log_level="error",
        output_params=VIDEO_OPTIONS.split(),
    )


def _listed_frames(path: Path) -> int:
    """Frames in a file's index, which is written last; nothing is decoded."""
    try:
        with av.open(str(path)) as container:
            return container.streams.video[0].frames
    except (FFmpegError, OSError, IndexError):
        return 0


def _even(frame: UInt8[np.ndarray, "h w 3"]) -> UInt8[np.ndarray, "h2 w2 3"]:
    height, width = frame.shape[:2]
    if height % 2 or width % 2:
        frame = np.pad(frame, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")
    return np.ascontiguousarray(frame)
