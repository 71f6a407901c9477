"""Image files to arrays: 8- and 16-bit, grey, RGB or RGBA, refusing files that are damaged."""

import io
import struct
from pathlib import Path

import cv2
import numpy as np
from PIL import Image, UnidentifiedImageError

from gslrm.errors import UserError

PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
DROPPED_CHUNKS = {b"eXIf"}  # Blender writes it twice, for which libpng prints a warning per image


def read_image(path: Path) -> np.ndarray:
    """Colours as float32 [H, W, 3] or [H, W, 4] in [0, 1], RGB(A); a grey image becomes three equal channels.

    Raises:
        UserError: the file is missing, truncated or not an image.
    """
    stored = _decode(path)
    if stored.ndim == 2:
        stored = np.repeat(stored[..., None], 3, axis=2)
    return _in_unit_range(stored)


def read_grey(path: Path) -> np.ndarray:
    """One channel as float32 [H, W] in [0, 1]; of a colour image the mean, of an image with alpha the alpha.

    Raises:
        UserError: the file is missing, truncated or not an image.
    """
    stored = _decode(path)
    if stored.ndim == 3:
        stored = stored[..., 3] if stored.shape[2] == 4 else stored.mean(axis=2).astype(stored.dtype)
    return _in_unit_range(stored)


def image_size(path: Path) -> tuple[int, int]:
    """Width and height, from the file's header.

    Raises:
        UserError: the file is missing or not an image.
    """
    try:
        with Image.open(path) as image:
            return image.size
    except (UnidentifiedImageError, OSError) as error:
        raise UserError(f"{path}: not a readable image ({error}); store PNG or JPEG") from error


def write_image(path: Path, array: np.ndarray) -> None:
    """Write uint8 or uint16 [H, W], [H, W, 3] (RGB) or [H, W, 4] as PNG.

    Raises:
        UserError: the file cannot be written.
    """
    try:
        path.write_bytes(encode_png(array))
    except OSError as error:
        raise UserError(f"{path}: cannot be written ({error.strerror})") from error


def encode_png(array: np.ndarray) -> bytes:
    """A PNG file of uint8 or uint16 [H, W], [H, W, 3] (RGB) or [H, W, 4]."""
    if array.ndim == 3:
        array = cv2.cvtColor(array, cv2.COLOR_RGB2BGR if array.shape[2] == 3 else cv2.COLOR_RGBA2BGRA)
    _, encoded = cv2.imencode(".png", array, [cv2.IMWRITE_PNG_COMPRESSION, 3])
    return encoded.tobytes()


def _in_unit_range(stored: np.ndarray) -> np.ndarray:
    return np.multiply(stored, np.float32(1 / np.iinfo(stored.dtype).max), dtype=np.float32)


def _decode(path: Path) -> np.ndarray:
    try:
        content = path.read_bytes()
    except OSError as error:
        raise UserError(f"{path}: image is missing or unreadable ({error.strerror}); restore it") from error
    decoded = _decode_png(path, content) if content.startswith(PNG_SIGNATURE) else _decode_other(path, content)
    if decoded.dtype not in (np.uint8, np.uint16):
        raise UserError(f"{path}: {decoded.dtype} images are not supported; store 8 or 16 bits per channel")
    return decoded


def _decode_png(path: Path, content: bytes) -> np.ndarray:
    """OpenCV reads 16-bit RGBA, which Pillow reduces to 8 bits; it also accepts truncated files, so those stop here."""
    decoded = cv2.imdecode(np.frombuffer(_clean_png(path, content), np.uint8), cv2.IMREAD_UNCHANGED)
    if decoded is None:
        raise UserError(f"{path}: PNG is damaged; write it again")
    if decoded.ndim == 3:
        decoded = cv2.cvtColor(decoded, cv2.COLOR_BGR2RGB if decoded.shape[2] == 3 else cv2.COLOR_BGRA2RGBA)
    return decoded


def _clean_png(path: Path, content: bytes) -> bytes:
    kept, position = [PNG_SIGNATURE], len(PNG_SIGNATURE)
    while position + 12 <= len(content):
        (length,) = struct.unpack_from(">I", content, position)
        kind, end = content[position + 4 : position + 8], position + 12 + length
        if end > len(content):
            break
        if kind not in DROPPED_CHUNKS:
            kept.append(content[position:end])
        if kind == b"IEND":
            return b"".join(kept)
        position = end
    raise UserError(f"{path}: PNG is truncated ({len(content)} bytes, no end marker); copy or write it again")


def _decode_other(path: Path, content: bytes) -> np.ndarray:
    try:
        with Image.open(io.BytesIO(content)) as image:
            image.load()
            if image.mode in ("L", "RGB", "RGBA", "I;16"):
                return np.asarray(image)
            return np.asarray(image.convert("RGBA" if "A" in image.getbands() else "RGB"))
    except (UnidentifiedImageError, OSError) as error:
        raise UserError(f"{path}: not a readable image ({error}); store PNG or JPEG") from error
