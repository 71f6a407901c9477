"""Files -> parts of a page that carry them inside."""

import base64
import io
from pathlib import Path

from PIL import Image

from gslrm.errors import UserError
from gslrm.html_page import Html, escape, figure, page

MAX_WIDTH = 2200  # pixels: twice the page's width, for screens with fine pixels
QUALITIES = (88, 70, 50)  # of JPEG, the first that fits


def encode_picture(path: Path, max_bytes: int, max_width: int = MAX_WIDTH) -> bytes:
    """A picture as JPEG of at most `max_bytes`, reduced until it fits.

    Raises:
        UserError: the file is missing or no picture.
    """
    image = open_picture(path)
    width = min(image.width, max_width)
    while True:
        if width < image.width:
            image = image.resize((width, max(1, round(image.height * width / image.width))), Image.Resampling.LANCZOS)
        for quality in QUALITIES:
            buffer = io.BytesIO()
            image.save(buffer, "JPEG", quality=quality)
            if buffer.tell() <= max_bytes:
                return buffer.getvalue()
        width = int(0.95 * image.width * (max_bytes / buffer.tell()) ** 0.5)  # bytes grow with the area


def open_picture(path: Path) -> Image.Image:
    """A picture as RGB, transparency on white.

    Raises:
        UserError: the file is missing or no picture.
    """
    try:
        image = Image.open(path)
        image.load()
    except OSError as error:
        raise UserError(f"cannot read {path} as a picture ({error.strerror or 'no known format'})") from error
    if "A" not in image.getbands():
        return image.convert("RGB")
    white = Image.new("RGBA", image.size, "white")
    return Image.alpha_composite(white, image.convert("RGBA")).convert("RGB")


def zoomable(content: bytes, caption: str) -> Html:
    """A JPEG in the page's width, or in its own where the reader ticks the box."""
    data = base64.b64encode(content).decode("ascii")
    return figure(
        Html(
            f'<label><input type="checkbox" class="zoom"> {escape(caption)}, full size</label><div class="wide">'
            f'<img src="data:image/jpeg;base64,{data}" alt="{escape(caption)}"></div>'
        )
    )


def video(content: bytes, alternative: str, *, caption: object = "") -> Html:
    """An MP4 that plays in a loop inside the page; `alternative` is what a reader who cannot see it is told."""
    data = base64.b64encode(content).decode("ascii")
    player = (
        f'<video controls loop muted playsinline aria-label="{escape(alternative)}" style="max-width: 100%" '
        f'src="data:video/mp4;base64,{data}"></video>'
    )
    return figure(Html(player), caption=caption)


def code(text: str) -> Html:
    """Text of a machine that may be broken anywhere."""
    return Html(f"<code>{escape(text)}</code>")


def preformatted(text: str) -> Html:
    """Text as it is, line by line, in a box that scrolls sideways."""
    return Html(f'<div class="wide"><pre>{escape(text)}</pre></div>')


def document(title: str, parts: list[Html], style: str) -> str:
    """A page with more style than the shared sheet has."""
    return page(title, parts).replace("</style>", f"{style}</style>", 1)
