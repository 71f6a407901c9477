"""Size and fidelity of every format on the same Gaussians, rendered by our own rasterizer after reading back."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from tempfile import TemporaryDirectory

import torch

from gslrm import harmonics as sh
from gslrm.cameras import Cameras
from gslrm.clean.cost import Painter, Truths, measure
from gslrm.export import FORMATS, read_gaussians, write_gaussians
from gslrm.look_around import cameras_around
from gslrm.metrics import crop_box, has_foreground, psnr
from gslrm.render import Rasterizer
from gslrm.types import Gaussians, Rendering

WHITE = torch.ones(1, 3)
VIEWS, SIZE = 12, 512


@dataclass(frozen=True)
class Row:
    """One format: bytes, how many times smaller than two .ply files, pictures against those of the Gaussians.

    `smaller` is against the .ply of the same degree, `smaller_full` against one with all 45 `f_rest`; `psnr` (dB, in
    the object's box, mean) and `largest` (of 255 levels) compare renderings; `loss` in dB by kind of view against
    true images, where there are any.
    """

    name: str
    size: int
    smaller: float
    smaller_full: float
    psnr: float
    largest: float
    seconds: tuple[float, float]
    loss: dict[str, float]


def measure_formats(gaussians: Gaussians, rasterizer: Rasterizer, truths: Truths, *, ratio: float = 1.0) -> list[Row]:
    """A row per format for one scene `[N]` on the CPU, looked at from all around.

    Args:
        gaussians: the scene.
        rasterizer: renders it.
        truths: true views in the scene's world, by kind such as `input`, `heldout`; may be empty.
        ratio: pixels of the true views per pixel of the pictures the Gaussians were made for, see `Rasterizer`.

    Raises:
        ValueError: no Gaussian is solid.
    """
    cameras = cameras_around(gaussians, VIEWS, SIZE)
    views = [cameras[index] for index in range(VIEWS)]
    bench = _Bench(gaussians, views, truths, partial(painter, rasterizer=rasterizer), ratio)
    with TemporaryDirectory() as folder:
        return [bench.row(name, Path(folder)) for name in FORMATS]


def painter(gaussians: Gaussians, rasterizer: Rasterizer, ratio: float = 1.0) -> Painter:
    """Draws one scene `[N]` on white at unbatched cameras of its world: pictures [1, ...]; see `Rasterizer`."""

    def paint(camera: Cameras) -> Rendering:
        with torch.inference_mode():
            return rasterizer(gaussians[None], camera[None, None].float(), WHITE, resolution_ratio=ratio)[0]

    return paint


def format_rows(rows: Sequence[Row]) -> str:
    """The rows as a table in Markdown."""
    kinds = sorted({kind for row in rows for kind in row.loss}, reverse=True)
    head = ["format", "kB", "smaller than .ply", "than .ply of degree 3", "PSNR to .ply (dB)", "largest change (/255)"]
    head += [f"loss at {kind} views (dB)" for kind in kinds] + ["write / read (s)"]
    lines = [head, ["---", *["---:"] * (len(head) - 1)]]
    for row in rows:
        cells = [row.name, f"{row.size / 1000:.0f}", f"{row.smaller:.1f} x", f"{row.smaller_full:.1f} x"]
        cells += [f"{row.psnr:.1f}", f"{row.largest:.0f}", *(f"{row.loss[kind]:.2f}" for kind in kinds)]
        lines.append([*cells, f"{row.seconds[0]:.2f} / {row.seconds[1]:.2f}"])
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


@dataclass(frozen=True)
class _Bench:
    """What all formats are compared with."""

    gaussians: Gaussians
    views: list[Cameras]
    truths: Truths
    painter: Callable[..., Painter]
    ratio: float

    def row(self, name: str, folder: Path) -> Row:
        path = folder / f"scene{FORMATS[name].suffix}"
        start = time.perf_counter()
        write_gaussians(self.gaussians, path, name)
        written = time.perf_counter()
        back = read_gaussians(path)
        seconds = (written - start, time.perf_counter() - written)
        paint = self.painter(back)
        pairs = [(paint(view), right) for view, right in zip(self.views, self.reference, strict=True)]
        after = measure(self.painter(back, ratio=self.ratio), self.truths)
        size, count = path.stat().st_size, len(self.gaussians.means)
        return Row(
            name=name,
            size=size,
            smaller=_row_bytes(self.gaussians.degree) * count / size,
            smaller_full=_row_bytes(sh.MAX_DEGREE) * count / size,
            psnr=sum(_psnr_of_box(*pair) for pair in pairs) / len(pairs),
            largest=255 * max(float((ours.rgb - right.rgb).abs().max()) for ours, right in pairs),
            seconds=seconds,
            loss={kind: self.truth[kind]["psnr_crop"] - scores["psnr_crop"] for kind, scores in after.items()},
        )

    @cached_property
    def reference(self) -> list[Rendering]:
        paint = self.painter(self.gaussians)
        return [paint(view) for view in self.views]

    @cached_property
    def truth(self) -> dict[str, dict[str, float]]:
        return measure(self.painter(self.gaussians, ratio=self.ratio), self.truths)


def _row_bytes(degree: int) -> int:
    """Of one Gaussian in a .ply: position, normal, opacity, scales, rotation, colours as float32."""
    return 4 * (14 + 3 * sh.coefficient_count(degree))


def _psnr_of_box(rendering: Rendering, reference: Rendering) -> float:
    if not has_foreground(reference.alpha[0]):  # not even half covered anywhere: too thin for a box
        return float(psnr(rendering.rgb[0], reference.rgb[0].clamp(0, 1)))
    rows, columns = crop_box(reference.alpha[0])
    right = reference.rgb[0].clamp(0, 1)
    return float(psnr(rendering.rgb[0, :, rows, columns], right[:, rows, columns]))
