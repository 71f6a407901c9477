"""Two pictures under one another with a slider between them, as a self-contained page."""

import base64
from dataclasses import dataclass
from pathlib import Path

from gslrm.errors import UserError
from gslrm.export import replacing
from gslrm.html_page import Html, escape, number, paragraph, section, table
from gslrm.training.report.curves import VIEWS, validated_metrics
from gslrm.training.report.embed import document, encode_picture, open_picture
from gslrm.training.report.record import Drawn, RunRecord, read_run

PICTURE_BYTES = 3_000_000
MAX_WIDTH = 4000  # pixels: a comparison is looked at closely
SHAPE_TOLERANCE = 0.01  # by which the two ratios of width to height may differ
DEFAULT_PICTURE = "val/gt_vs_pred"


@dataclass(frozen=True)
class Side:
    """One of the two pictures, with the run that drew it where it came from one."""

    label: str
    path: Path
    record: RunRecord | None = None
    step: int | None = None


def write_comparison(
    before: Path, after: Path, output: Path, *, name: str = DEFAULT_PICTURE, step: int | None = None
) -> None:
    """Write the page that compares two pictures, or the pictures `name` of two runs after pass `step`.

    Without `step` the last picture of each run is taken, and of one run given twice the first and the last.

    Raises:
        UserError: a picture or run is missing or damaged, the pictures differ in shape, or the page cannot be written.
    """
    same_run = before.is_dir() and after.is_dir() and before.resolve() == after.resolve()
    sides = (
        find_side(before, name=name, step=step, first=same_run),
        find_side(after, name=name, step=step, first=False),
    )
    if sides[0].path.resolve() == sides[1].path.resolve():
        raise UserError(f"{before} and {after} are the same picture {sides[0].path.name}; give two different ones")
    content = render_comparison(*sides)
    with replacing(output) as temporary:
        temporary.write_text(content, encoding="utf-8")


def find_side(source: Path, *, name: str, step: int | None, first: bool) -> Side:
    """A picture file itself, or one of a run folder.

    Raises:
        UserError: there is no such picture.
    """
    if not source.is_dir():
        if not source.is_file():
            raise UserError(f"{source}: no such picture or run folder; give a PNG or the --run-dir of a run")
        return Side(source.name, source)
    record = read_run(source)
    drawn = record.pictures(name.replace("/", "_"))
    chosen = _choose(drawn, step, first)
    if chosen is None:
        there = ", ".join(f"{one.name} {one.step}" for one in record.drawn) or "none"
        asked = name if step is None else f"{name} after pass {step}"
        raise UserError(f"{source} has no picture {asked}; its pictures: {there}")
    return Side(f"{record.name}, pass {chosen.step}", chosen.path, record, chosen.step)


def render_comparison(before: Side, after: Side) -> str:
    """The page; both pictures lie inside it.

    Raises:
        UserError: a picture cannot be read, or they differ in shape.
    """
    ratios = [image.width / image.height for image in (open_picture(side.path) for side in (before, after))]
    if abs(ratios[0] / ratios[1] - 1) > SHAPE_TOLERANCE:
        raise UserError(
            f"{before.path} and {after.path} differ in shape ({ratios[0]:.3f} and {ratios[1]:.3f} wide per height), so "
            "they cannot lie under one another; compare pictures of the same views"
        )
    hint = "Drag the line, or use the arrow keys, Page Up and Page Down, Home and End."
    parts = [paragraph(hint, "note"), _slider(before, after), _scores(before, after), Html(SCRIPT)]
    return document(f"{before.label} and {after.label}", [part for part in parts if part], STYLE)


def _slider(before: Side, after: Side) -> Html:
    images = [
        f'<img class="{kind}" src="data:image/jpeg;base64,{_base64(side.path)}" alt="{kind}: {escape(side.label)}">'
        for kind, side in (("before", before), ("after", after))
    ]
    return Html(
        f'<div class="sides"><span>before: {escape(before.label)}</span><span>after: {escape(after.label)}</span></div>'
        f'<div class="compare">{"".join(images)}<span class="line"></span>'
        '<input type="range" min="0" max="100" step="0.5" value="50" aria-label="share of the picture before">'
        "</div>"
    )


def _base64(path: Path) -> str:
    return base64.b64encode(encode_picture(path, PICTURE_BYTES, MAX_WIDTH)).decode("ascii")


def _scores(before: Side, after: Side) -> Html:
    """What the two runs scored when the pictures were drawn; empty where a side is no run."""
    if before.record is None or after.record is None:
        return Html("")
    rows = []
    for metric in validated_metrics(after.record):
        for views, prefix in reversed(VIEWS.items()):
            old = before.record.latest(f"{prefix}{metric}", before.step)
            new = after.record.latest(f"{prefix}{metric}", after.step)
            if old is not None and new is not None:
                rows.append([f"{metric}, {views}", number(old, 4), number(new, 4), f"{new - old:+.3g}"])
    if not rows:
        return Html("")
    return section("Scores at these passes", table(["", "before", "after", "change"], rows))


def _choose(drawn: list[Drawn], step: int | None, first: bool) -> Drawn | None:
    if step is not None:
        return next((one for one in drawn if one.step == step), None)
    if not drawn:
        return None
    return drawn[0] if first else drawn[-1]


# The input lies over the pictures, as much wider as its handle is, so that the handle's middle is the edge. Without
# the script both pictures are shown one below the other.
STYLE = """main { max-width: none; }
.sides { display: flex; justify-content: space-between; gap: 24px; margin: 12px 0 6px; font-weight: 600; }
.sides span { overflow-wrap: anywhere; }
.compare { --at: 50%; position: relative; max-width: 2400px; }
.compare img { display: block; width: 100%; height: auto; }
.compare .line, .compare input { display: none; }
.compare.live .after { position: absolute; inset: 0; height: 100%; clip-path: inset(0 0 0 var(--at)); }
.compare.live .line { display: block; position: absolute; top: 0; bottom: 0; left: var(--at); width: 3px;
  margin-left: -1.5px; background: #e0218a; pointer-events: none; }
.compare.live input { display: block; position: absolute; top: 0; left: -20px; width: calc(100% + 40px); height: 100%;
  margin: 0; background: transparent; cursor: ew-resize; touch-action: pan-y; appearance: none;
  -webkit-appearance: none; }
.compare input::-webkit-slider-runnable-track { height: 100%; background: transparent; }
.compare input::-webkit-slider-thumb { -webkit-appearance: none; width: 40px; height: 100%; background:
  radial-gradient(circle, #fff 0 4px, #e0218a 5px 17px, transparent 18px); }
.compare input::-moz-range-track { height: 100%; background: transparent; }
.compare input::-moz-range-thumb { width: 40px; height: 100%; border: 0; border-radius: 0; background:
  radial-gradient(circle, #fff 0 4px, #e0218a 5px 17px, transparent 18px); }
.compare input:focus-visible { outline: 3px solid #e0218a; outline-offset: 2px; }
"""
SCRIPT = """<script>
for (const box of document.querySelectorAll(".compare")) {
  const input = box.querySelector("input");
  const show = () => {
    box.style.setProperty("--at", input.value + "%");
    input.setAttribute("aria-valuetext", Math.round(input.value) + " percent before");
  };
  input.addEventListener("input", show);
  box.classList.add("live");
  show();
}
</script>"""
