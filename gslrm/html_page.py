"""Self-contained HTML pages: one file with its style and pictures inside, readable by day and by night.

Nothing is loaded and nothing is computed in the browser: a page can be mailed, archived or opened without a network.
Parts are `Html`; every other string is text and gets escaped, so a sample's name cannot become markup.
"""

import base64
import html
from collections.abc import Iterable, Mapping, Sequence
from typing import Literal

State = Literal["good", "bad", "unsure"]

MARKS: Mapping[State, str] = {"good": "✓", "bad": "✗", "unsure": "!"}  # a verdict is not told by colour alone
SERIES_LIGHT = ("#2a6fc9", "#d9581f", "#0f8a63", "#a8730a", "#c2417f", "#5b3fb5", "#6b7280", "#0c8ba3")
SERIES_DARK = ("#6ea8ff", "#ff9a66", "#4fd1a5", "#e5b94a", "#f48fbb", "#b39dff", "#a3abb8", "#5fd0e6")


class Html(str):
    """Text that is markup already and is not escaped again."""

    __slots__ = ()


def page(title: str, parts: Iterable[str], *, language: str = "en") -> str:
    """A whole document: `title` as its heading, then the parts in their order."""
    return (
        f'<!doctype html>\n<html lang="{html.escape(language)}">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n<style>\n{_style()}</style>\n</head>\n<body>\n<main>\n"
        f"<h1>{escape(title)}</h1>\n{join(parts)}\n</main>\n</body>\n</html>\n"
    )


def escape(text: object) -> Html:
    """Text made safe for markup; `Html` passes unchanged."""
    return text if isinstance(text, Html) else Html(html.escape(str(text)))


def join(parts: Iterable[object]) -> Html:
    """Parts one below the other, each escaped unless it is `Html`."""
    return Html("\n".join(escape(part) for part in parts))


def section(heading: str, *parts: object) -> Html:
    """Parts under a heading."""
    return Html(f"<section>\n<h2>{escape(heading)}</h2>\n{join(parts)}\n</section>")


def details(summary: object, *parts: object, is_open: bool = False) -> Html:
    """Parts that fold away under a line."""
    opened = " open" if is_open else ""
    return Html(f"<details{opened}>\n<summary>{escape(summary)}</summary>\n{join(parts)}\n</details>")


def paragraph(text: object, kind: str = "") -> Html:
    """One paragraph; `kind` is a class of the style sheet, such as `note`."""
    return Html(f"<p{_class(kind)}>{escape(text)}</p>")


def bullets(items: Iterable[object]) -> Html:
    """An unordered list."""
    return Html("<ul>" + "".join(f"<li>{escape(item)}</li>" for item in items) + "</ul>")


def verdict(text: object, state: State) -> Html:
    """The page's answer in one banner."""
    return Html(f'<p class="verdict {state}"><span class="mark">{MARKS[state]}</span> {escape(text)}</p>')


def figures(values: Mapping[str, object]) -> Html:
    """Headline numbers side by side: label to value."""
    cells = "".join(f"<div><dt>{escape(label)}</dt><dd>{escape(value)}</dd></div>" for label, value in values.items())
    return Html(f'<dl class="figures">{cells}</dl>')


def table(headers: Sequence[object], rows: Iterable[Sequence[object]], *, bad_rows: Iterable[int] = ()) -> Html:
    """A table that scrolls sideways on narrow screens; numbers (int, float, none for unknown) are set right.

    Floats are written with three significant digits; format them before to have others. `bad_rows` are marked.
    """
    marked = set(bad_rows)
    head = "".join(f"<th>{escape(header)}</th>" for header in headers)
    lines = []
    for index, row in enumerate(rows):
        lines.append(f"<tr{_class('bad' if index in marked else '')}>{''.join(map(_cell, row))}</tr>")
    body = "\n".join(lines)
    return Html(f'<div class="wide"><table><thead><tr>{head}</tr></thead>\n<tbody>\n{body}\n</tbody></table></div>')


def picture(content: bytes, alternative: str, *, kind: Literal["jpeg", "png"] = "jpeg", caption: object = "") -> Html:
    """An encoded image inside the page; `alternative` is what a reader who cannot see it is told."""
    data = base64.b64encode(content).decode("ascii")
    image = f'<img src="data:image/{kind};base64,{data}" alt="{escape(alternative)}">'
    return figure(Html(image), caption=caption)


def figure(content: Html, *, caption: object = "") -> Html:
    """A picture or plot with its caption."""
    text = f"<figcaption>{escape(caption)}</figcaption>" if caption else ""
    return Html(f"<figure>{content}{text}</figure>")


def side_by_side(parts: Iterable[object]) -> Html:
    """Figures next to one another where the window is wide enough."""
    return Html(f'<div class="grid">{join(parts)}</div>')


def number(value: float | None, digits: int = 3) -> str:
    """A number with `digits` significant digits, without a needless exponent; a dash for none and NaN."""
    if value is None or value != value:
        return "–"
    size = abs(value)
    if size and not 1e-4 <= size < 1e7:
        return f"{value:.{digits - 1}e}"
    return f"{value:.0f}" if size >= 10**digits else f"{value:.{digits}g}"


def _cell(value: object) -> str:
    is_number = value is None or (isinstance(value, int | float) and not isinstance(value, bool))
    text = number(value) if isinstance(value, float) or value is None else value
    return f"<td{_class('number' if is_number else '')}>{escape(text)}</td>"


def _class(name: str) -> str:
    return f' class="{escape(name)}"' if name else ""


def _style() -> str:
    colours = [" ".join(f"--series-{i}: {c};" for i, c in enumerate(c)) for c in (SERIES_LIGHT, SERIES_DARK)]
    series = "\n".join(f".series-{i} {{ --colour: var(--series-{i}); }}" for i in range(len(SERIES_LIGHT)))
    return STYLE.replace("LIGHT_SERIES", colours[0]).replace("DARK_SERIES", colours[1]) + series + "\n"


STYLE = """:root {
  color-scheme: light dark;
  --paper: #ffffff; --raised: #f5f6f8; --ink: #1b1e24; --quiet: #5a6270; --line: #d8dce3;
  --good: #11734b; --good-paper: #e6f5ee; --bad: #b3261e; --bad-paper: #fdecea;
  --unsure: #7a5200; --unsure-paper: #fff4dc;
  LIGHT_SERIES
}
@media (prefers-color-scheme: dark) {
  :root {
    --paper: #14161a; --raised: #1d2026; --ink: #e7e9ee; --quiet: #a2a9b5; --line: #363b45;
    --good: #6fdcab; --good-paper: #12301f; --bad: #ff9c92; --bad-paper: #3a1714;
    --unsure: #f0c46a; --unsure-paper: #33270c;
    DARK_SERIES
  }
}
* { box-sizing: border-box; }
body { margin: 0; background: var(--paper); color: var(--ink);
  font: 16px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "Noto Sans", sans-serif; }
main { max-width: 1120px; margin: 0 auto; padding: 24px 20px 64px; }
h1 { font-size: 1.6rem; line-height: 1.25; margin: 0 0 16px; }
h2 { font-size: 1.2rem; margin: 40px 0 8px; }
p { margin: 8px 0; max-width: 78ch; }
ul { margin: 8px 0; padding-left: 22px; max-width: 78ch; }
.note, figcaption { color: var(--quiet); font-size: 0.875rem; }
.verdict { max-width: none; padding: 12px 16px; border-left: 4px solid; border-radius: 4px; font-weight: 600; }
.verdict.good { color: var(--good); background: var(--good-paper); }
.verdict.bad { color: var(--bad); background: var(--bad-paper); }
.verdict.unsure { color: var(--unsure); background: var(--unsure-paper); }
.figures { display: flex; flex-wrap: wrap; gap: 12px; margin: 16px 0; }
.figures div { background: var(--raised); border-radius: 6px; padding: 10px 16px; min-width: 128px; }
.figures dt { color: var(--quiet); font-size: 0.8125rem; }
.figures dd { margin: 0; font-size: 1.3rem; font-variant-numeric: tabular-nums; }
.wide { overflow-x: auto; margin: 12px 0; }
table { border-collapse: collapse; font-size: 0.875rem; font-variant-numeric: tabular-nums; }
th, td { text-align: left; vertical-align: top; padding: 6px 12px 6px 0; border-bottom: 1px solid var(--line); }
th { color: var(--quiet); font-weight: 600; white-space: nowrap; }
td.number { text-align: right; white-space: nowrap; }
tr.bad td:first-child { color: var(--bad); font-weight: 600; }
figure { margin: 12px 0; }
figure img { max-width: 100%; height: auto; border-radius: 4px; display: block; }
.grid { display: grid; gap: 8px 24px; grid-template-columns: repeat(auto-fit, minmax(min(100%, 460px), 1fr)); }
details { border-top: 1px solid var(--line); padding: 8px 0; }
summary { cursor: pointer; font-weight: 600; overflow-wrap: anywhere; }
code { font: 0.875em ui-monospace, SFMono-Regular, Menlo, Consolas, monospace; overflow-wrap: anywhere; }
.plot { width: 100%; height: auto; display: block; }
.plot text { fill: var(--quiet); font-size: 12px; font-variant-numeric: tabular-nums; }
.plot .title { fill: var(--ink); font-size: 13px; font-weight: 600; }
.plot .grid-line { stroke: var(--line); stroke-width: 1; }
.plot .axis { stroke: var(--quiet); stroke-width: 1; }
.plot .limit { stroke: var(--bad); stroke-width: 1.5; stroke-dasharray: 6 4; }
.plot .limit-label { fill: var(--bad); }
.plot .curve { fill: none; stroke: var(--colour); stroke-width: 1.6; stroke-linejoin: round; }
.plot .dot { fill: var(--colour); stroke: var(--paper); stroke-width: 0.8; }
.plot .key { fill: var(--colour); }
"""
