"""The figures of a sequence as one page."""

from collections.abc import Mapping, Sequence
from typing import Any

from gslrm.html_page import bullets, figures, number, page, paragraph, section, side_by_side
from gslrm.html_plot import Axes, line_plot
from gslrm.motion.sequence import GaussianSequence


def motion_page(sequence: GaussianSequence, found: Mapping[str, Any]) -> str:
    """A page with what `motion_figures` found, over time."""
    manifest = sequence.manifest
    unit = manifest.unit or "units"
    count = len(sequence)
    means = found["means"]
    headline = {
        "frames": count,
        "Gaussians per frame": number(sum(frame.count for frame in manifest.frames) / count, 4),
        "kB per frame": number(sequence.size / count / 1000),
        f"mean speed ({unit}/s)": number(means["speed"]),
        f"jitter ({unit})": number(means["jitter"]),
        "flicker (levels)": number(means["flicker"]),
    }
    at = "time (s)"
    plots = [
        line_plot({"speed": _curve(found, "speed")}, Axes("speed of the centre", at, f"{unit}/s")),
        line_plot({"jitter": _curve(found, "jitter")}, Axes("jitter of the centre", at, unit)),
        line_plot(
            {"travelling cameras": _curve(found, "flicker"), "fixed cameras": _curve(found, "flicker_fixed")},
            Axes("flicker", at, "levels of 255"),
        ),
        line_plot(
            {"Gaussians": [(frame.time, float(frame.count)) for frame in manifest.frames]},
            Axes("Gaussians per frame", at, "Gaussians"),
        ),
    ]
    meaning = bullets(f"{name}: {text}" for name, text in found["definitions"].items())
    length = manifest.frames[-1].time - manifest.frames[0].time
    about = paragraph(f"{count} frames over {number(length)} s, recorded at {number(manifest.fps)} frames per second.")
    return page("Motion of a sequence", [about, figures(headline), side_by_side(plots), section("Meaning", meaning)])


def _curve(found: Mapping[str, Any], name: str) -> Sequence[tuple[float, float]]:
    nothing = float("nan")
    return [
        (time, nothing if value is None else value) for time, value in zip(found["times"], found[name], strict=True)
    ]
