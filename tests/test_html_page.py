"""Laws of the building blocks of self-contained pages."""

import math
import re
import xml.etree.ElementTree as ElementTree

import pytest

from gslrm.html_page import Html, escape, figures, number, page, picture, section, table, verdict
from gslrm.html_plot import MAX_BINS, Axes, line_plot, nice_ticks, scatter_plot, strip_plot


def svg_of(plot: str) -> ElementTree.Element:
    return ElementTree.fromstring(plot)


def circles(plot: str) -> list[ElementTree.Element]:
    return svg_of(plot).findall(".//circle")


def test_text_is_escaped_and_markup_is_not():
    assert escape("<b>") == "&lt;b&gt;" and escape(Html("<b>")) == "<b>"
    assert "<b>" not in table(["<b>"], [["<b>"]]) + section("<b>", "<b>") + verdict("<b>", "good") + figures(
        {"<b>": "<b>"}
    )
    assert '"onerror=' not in picture(b"", '"onerror=')


def test_a_page_is_one_document_with_one_heading_for_day_and_night():
    document = page("A < B", [section("one", "text")])
    assert document.startswith("<!doctype html>") and document.count("<h1>") == 1 and "A &lt; B" in document
    assert "prefers-color-scheme: dark" in document and "http" not in document


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.0, "0"), (1234.4, "1234"), (0.12345, "0.123"), (math.nan, "–"), (None, "–"), (2.5e9, "2.50e+09"), (-3.0, "-3")],
)
def test_numbers_are_short(value, text):
    assert number(value) == text


@pytest.mark.parametrize(("low", "high"), [(0.0, 1.0), (-3.2, 17.0), (0.001, 0.0042), (1e6, 3e6), (-5.0, -1.0)])
def test_ticks_are_round_and_span_the_data(low, high):
    ticks = nice_ticks(low, high)
    assert ticks[0] <= low and ticks[-1] >= high and 3 <= len(ticks) <= 9
    step = ticks[1] - ticks[0]
    assert round(step / 10 ** math.floor(math.log10(step) + 1e-9), 6) in (1, 2, 5)


def test_higher_values_are_drawn_higher_and_inside():
    for logarithmic in (False, True):
        drawn = circles(scatter_plot({"a": [(0.0, 1.0), (1.0, 50.0), (2.0, 3.0)]}, Axes("t", logarithmic=logarithmic)))
        height = [float(circle.get("cy")) for circle in drawn]
        assert height[0] > height[2] > height[1]
        assert all(30 < y < 240 for y in height)


def test_a_logarithmic_axis_draws_equal_ratios_equally_far_apart():
    drawn = circles(scatter_plot({"a": [(0.0, 0.1), (1.0, 1.0), (2.0, 10.0)]}, Axes("t", logarithmic=True)))
    first, second, third = (float(circle.get("cy")) for circle in drawn)
    assert first - second == pytest.approx(second - third, abs=0.2)


def test_nothing_unknown_is_drawn():
    values = [(0.0, 1.0), (1.0, math.nan), (2.0, 2.0), (3.0, math.inf)]
    assert len(circles(scatter_plot({"a": values}, Axes("t")))) == 2
    path = svg_of(line_plot({"a": values}, Axes("t"))).find(".//path").get("d")
    assert path.count("M") == 2 and "nan" not in path and "inf" not in path
    assert "no values" in line_plot({"a": [(0.0, math.nan)]}, Axes("t"))


def test_long_curves_stay_small_and_keep_their_outliers():
    values = [(float(x), math.sin(x)) for x in range(50_000)]
    values[31_234] = (31_234.0, 40.0)
    plot = line_plot({"a": values}, Axes("t"))
    heights = [float(y) for y in re.findall(r"[ML][\d.]+ ([\d.]+)", plot)]
    assert len(heights) <= 2 * MAX_BINS and len(plot) < 40_000
    one = line_plot({"a": [(0.0, 0.0), (1.0, 40.0)]}, Axes("t"))
    assert min(heights) == pytest.approx(min(float(y) for y in re.findall(r"[ML][\d.]+ ([\d.]+)", one)), abs=0.2)


def test_limits_and_legends_are_named():
    plot = line_plot({"Camera1": [(0.0, 1.0)], "Camera2": [(0.0, 2.0)]}, Axes("t", limit=3.0, limit_label="worst"))
    assert "worst 3" in plot and "Camera1" in plot and "Camera2" in plot


def test_strips_stand_side_by_side_under_their_names():
    drawn = circles(strip_plot({"a": [1.0, 2.0], "b": [3.0]}, Axes("t")))
    x = [float(circle.get("cx")) for circle in drawn]
    assert max(x[:2]) < x[2]
