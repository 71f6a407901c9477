"""Where a recording's masks come from: the maskers that options can ask for, and the files they need."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from gslrm.data.images import image_size, read_grey, read_image
from gslrm.data.mask_background import BackgroundModel
from gslrm.data.mask_plugins import load
from gslrm.errors import UserError
from gslrm.prepare.frames import (
    DIGITS,
    PICTURE_SUFFIXES,
    VIDEO_SUFFIXES,
    Frame,
    FrameError,
    FrameSource,
    PictureFrames,
    open_frames,
)
from gslrm.prepare.masking import BackgroundMasker, Masker, PictureMasker, white_paper
from gslrm.prepare.options import Options
from gslrm.prepare.recording import Recording

SURVEY = 48  # frames of each camera from which a background is estimated


@dataclass(frozen=True)
class MaskSource:
    """A masker, and the recording of the masks that it is given, if any."""

    masker: Masker
    given: Recording | None = None
    is_survey: bool = False
    """The background is what the recording itself shows most of the time."""

    def read(self, times: Sequence[int]) -> Iterator[list[Frame] | FrameError | None]:
        """The given masks at ascending times; nothing where masks are made."""
        return iter([None] * len(times)) if self.given is None else self.given.read(times)

    def available(self, times: Sequence[int]) -> list[int]:
        """The times at which masks can be had.

        Raises:
            UserError: there are none.
        """
        if self.given is None:
            return list(times)
        numbered = [
            (view, source) for view, source in enumerate(self.given.sources) if isinstance(source, NumberedMasks)
        ]
        found = [
            time for time in times if all(self.given.frames[time, view] in source.paths for view, source in numbered)
        ]
        if not found:
            raise UserError(f"{numbered[0][1].place}: no mask is named by a frame that is to be prepared")
        return found


def open_masks(recording: Recording, options: Options) -> MaskSource:
    """The masks that the options ask for.

    Raises:
        UserError: a plate, a folder of masks or a package is missing, or does not belong to its camera.
    """
    source = options.mask_source
    if source == "auto":
        source = "given" if options.given_masks else "plate" if options.background else "temporal"
    return SOURCES[source](recording, options)


def _from_plates(recording: Recording, options: Options) -> MaskSource:
    if options.background is None:
        raise UserError("--mask-source plate needs --background DIR with a picture of the empty scene per camera")
    models = []
    for camera in recording.rig.cameras:
        path = _plate_of(options.background, _folder(options, camera.name))
        plate = np.rint(read_image(path)[..., :3] * 255).astype(np.uint8)
        if plate.shape[:2] != (camera.height, camera.width):
            raise UserError(
                f"{path}: {plate.shape[1]}x{plate.shape[0]}, but {camera.name} takes {camera.width}x{camera.height}; "
                "take the plate with the same camera settings as the videos"
            )
        models.append(BackgroundModel.from_plate(plate))
    return MaskSource(BackgroundMasker(recording.rig.cameras, tuple(models), options.consensus))


def _from_recording(recording: Recording, options: Options) -> MaskSource:
    times = sorted({round(place) for place in np.linspace(0, len(recording.frames) - 1, SURVEY)})
    models = [BackgroundModel.from_frames(recording.readable(view, times)) for view in range(len(recording.sources))]
    return MaskSource(BackgroundMasker(recording.rig.cameras, tuple(models), options.consensus), is_survey=True)


def _from_files(recording: Recording, options: Options) -> MaskSource:
    if options.given_masks is None:
        raise UserError("--mask-source given needs --masks DIR with a folder or a mask video per camera")
    sources = []
    for camera, pictures in zip(recording.rig.cameras, recording.sources, strict=True):
        place = _masks_of(options.given_masks, _folder(options, camera.name))
        source: FrameSource | NumberedMasks = (
            NumberedMasks.open(place) if _holds_pictures(place) else open_frames(place)
        )
        if (source.width, source.height) != (camera.width, camera.height):
            raise UserError(
                f"{place}: masks are {source.width}x{source.height}, {camera.name} takes "
                f"{camera.width}x{camera.height}; give masks of the raw pictures, neither cropped nor undistorted"
            )
        if not isinstance(source, NumberedMasks) and source.count != pictures.count:
            raise UserError(f"{place}: {source.count} masks for {pictures.count} frames; give one for every frame")
        sources.append(source)
    given = replace(recording, sources=tuple(sources))
    return MaskSource(PictureMasker(recording.rig.cameras, options.consensus), given)


def _from_alpha(recording: Recording, options: Options) -> MaskSource:
    pictures = [source for source in recording.sources if isinstance(source, PictureFrames)]
    if len(pictures) != len(recording.sources):
        raise UserError(f"--mask-source alpha: {options.videos} must hold folders of pictures with an alpha channel")
    given = replace(recording, sources=tuple(AlphaChannels(source) for source in pictures))
    return MaskSource(PictureMasker(recording.rig.cameras, options.consensus), given)


def _from_white(recording: Recording, options: Options) -> MaskSource:
    return MaskSource(PictureMasker(recording.rig.cameras, options.consensus, white_paper))


def _from_plugin(recording: Recording, options: Options) -> MaskSource:
    if options.mask_weights is None:
        raise UserError(f"--mask-source {options.mask_source} needs --mask-weights FILE; nothing is downloaded")
    segmenter = load(options.mask_source, options.mask_weights)
    return MaskSource(PictureMasker(recording.rig.cameras, options.consensus, segmenter))


SOURCES: dict[str, Callable[[Recording, Options], MaskSource]] = {
    "plate": _from_plates,
    "temporal": _from_recording,
    "given": _from_files,
    "alpha": _from_alpha,
    "white": _from_white,
    "rembg": _from_plugin,
    "sam2": _from_plugin,
}


@dataclass(frozen=True)
class NumberedMasks:
    """A folder of mask pictures, each named by the frame it belongs to; frames may be left out."""

    place: Path
    paths: dict[int, Path]
    width: int
    height: int

    @staticmethod
    def open(place: Path) -> "NumberedMasks":
        """List the folder.

        Raises:
            UserError: a name holds no number, or two hold the same.
        """
        paths: dict[int, Path] = {}
        for path in sorted(place.iterdir()):
            if path.suffix.lower() not in PICTURE_SUFFIXES:
                continue
            digits = DIGITS.findall(path.stem)
            if not digits or int(digits[-1]) in paths:
                raise UserError(f"{path}: mask pictures must be named by their frame, such as frame_000012.png")
            paths[int(digits[-1])] = path
        return NumberedMasks(place, paths, *image_size(next(iter(paths.values()))))

    @property
    def count(self) -> int:
        """One more than the last frame that has a mask."""
        return max(self.paths) + 1

    def read(self, wanted: Iterable[int]) -> Iterator[Frame]:
        """See `FrameSource`."""
        for number in wanted:
            if number not in self.paths:
                raise FrameError(f"{self.place}: there is no mask of frame {number}")
            yield _as_frame(self.paths[number])


@dataclass(frozen=True)
class AlphaChannels:
    """The alpha channels of a folder of pictures."""

    pictures: PictureFrames

    @property
    def count(self) -> int:
        """Number of frames."""
        return self.pictures.count

    @property
    def width(self) -> int:
        """In pixels."""
        return self.pictures.width

    @property
    def height(self) -> int:
        """In pixels."""
        return self.pictures.height

    def read(self, wanted: Iterable[int]) -> Iterator[Frame]:
        """See `FrameSource`; a picture without alpha is a damaged frame."""
        for number in wanted:
            path = self.pictures.paths[number]
            if read_image(path).shape[2] != 4:
                raise FrameError(f"{path}: has no alpha channel; choose another --mask-source")
            yield _as_frame(path)


def _as_frame(path: Path) -> Frame:
    try:
        grey = read_grey(path)
    except UserError as error:
        raise FrameError(str(error)) from error
    return np.repeat(np.rint(grey * 255).astype(np.uint8)[..., None], 3, axis=2)


def _folder(options: Options, camera: str) -> str:
    return dict(options.cameras).get(camera, camera)


def _plate_of(folder: Path, name: str) -> Path:
    """`name.jpg`, or the only picture in a folder `name`."""
    found = [path for suffix in PICTURE_SUFFIXES if (path := folder / f"{name}{suffix}").is_file()]
    if not found and (folder / name).is_dir():
        found = [path for path in sorted((folder / name).iterdir()) if path.suffix.lower() in PICTURE_SUFFIXES]
    if len(found) != 1:
        raise UserError(
            f"{folder}: {len(found)} plates for camera {name}; put one picture there, named {name}.png or {name}.jpg"
        )
    return found[0]


def _masks_of(folder: Path, name: str) -> Path:
    found = [path for suffix in VIDEO_SUFFIXES if (path := folder / f"{name}{suffix}").is_file()]
    if (folder / name).is_dir():
        found.append(folder / name)
    if len(found) != 1:
        raise UserError(f"{folder}: {len(found)} masks for camera {name}; put a folder or a video {name} there")
    return found[0]


def _holds_pictures(place: Path) -> bool:
    return place.is_dir() and any(path.suffix.lower() in PICTURE_SUFFIXES for path in place.iterdir())
