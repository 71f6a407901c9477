"""Two pictures lie under one another with a slider that needs no mouse and no network."""

import base64
import io
import re

import numpy as np
import pytest
from PIL import Image
from report_helpers import flat, read_page, train_line, val_line, write_run

from gslrm.errors import UserError
from gslrm.training.report import write_comparison

PICTURES = {f"val_gt_vs_pred_{step:08d}.png": flat(step) for step in (50, 100, 150)}


def levels(page) -> dict[str, float]:
    """Mean grey of the embedded pictures by their class."""
    images = {image["class"]: image["src"].partition("base64,")[2] for image in page.of("img")}
    return {kind: np.array(Image.open(io.BytesIO(base64.b64decode(data)))).mean() for kind, data in images.items()}


def test_two_files_are_embedded_in_order_under_a_slider(tmp_path):
    for name, level in (("a.png", 40), ("b.png", 90)):
        Image.fromarray(flat(level)).save(tmp_path / name)
    write_comparison(tmp_path / "a.png", tmp_path / "b.png", tmp_path / "page.html")
    page = read_page(tmp_path / "page.html")
    assert levels(page) == {"before": pytest.approx(40, abs=1), "after": pytest.approx(90, abs=1)}
    (slider,) = page.of("input")
    assert slider["type"] == "range" and slider["aria-label"] and "disabled" not in slider
    text = (tmp_path / "page.html").read_text()
    assert re.search(r"touch-action: pan-y", text) and "focus-visible" in text


def test_of_one_run_the_first_and_the_last_picture_are_compared_with_their_scores(tmp_path):
    entries = [entry for step in (50, 100, 150) for entry in (train_line(step), val_line(step))]
    run = write_run(tmp_path / "run", entries, pictures=PICTURES)
    write_comparison(run, run, tmp_path / "page.html")
    page = read_page(tmp_path / "page.html")
    assert levels(page) == {"before": pytest.approx(50, abs=1), "after": pytest.approx(150, abs=1)}
    assert "psnr_fg, held-out views 10.5 11.5 +1" in page.words


def test_of_two_runs_the_last_pictures_or_those_of_a_pass_are_compared(tmp_path):
    runs = [write_run(tmp_path / name, [train_line(150)], pictures=PICTURES) for name in ("a", "b")]
    write_comparison(*runs, tmp_path / "last.html")
    assert levels(read_page(tmp_path / "last.html"))["before"] == pytest.approx(150, abs=1)
    write_comparison(*runs, tmp_path / "step.html", step=100)
    page = read_page(tmp_path / "step.html")
    assert levels(page)["after"] == pytest.approx(100, abs=1) and "after: b, pass 100" in page.words


def test_a_transparent_picture_lies_on_white(tmp_path):
    Image.new("RGBA", (40, 20), (255, 0, 0, 0)).save(tmp_path / "a.png")
    Image.fromarray(flat(90)).save(tmp_path / "b.png")
    write_comparison(tmp_path / "a.png", tmp_path / "b.png", tmp_path / "page.html")
    assert levels(read_page(tmp_path / "page.html"))["before"] == pytest.approx(255, abs=1)


def test_labels_cannot_become_markup(tmp_path):
    name = '<img src=x onerror="alert(1)">.png'
    Image.fromarray(flat(1)).save(tmp_path / name)
    Image.fromarray(flat(2)).save(tmp_path / "b.png")
    write_comparison(tmp_path / name, tmp_path / "b.png", tmp_path / "page.html")
    page = read_page(tmp_path / "page.html")
    assert len(page.of("img")) == 2 and not any("onerror" in image for image in page.of("img"))


@pytest.mark.parametrize(
    ("before", "after", "step", "message"),
    [
        ("wide.png", "tall.png", None, "differ in shape"),
        ("missing.png", "tall.png", None, "missing.png: no such picture or run folder"),
        ("text.png", "tall.png", None, "text.png as a picture"),
        ("tall.png", "tall.png", None, "are the same picture"),
        ("run", "tall.png", 7, r"no picture val/gt_vs_pred after pass 7; its pictures: val_gt_vs_pred 50"),
        ("empty", "tall.png", None, "is no run folder"),
    ],
)
def test_what_cannot_be_compared_is_refused_with_the_cure(tmp_path, before, after, step, message):
    Image.fromarray(flat(1)).save(tmp_path / "wide.png")
    Image.fromarray(flat(1, 80, 40)).save(tmp_path / "tall.png")
    (tmp_path / "text.png").write_text("no picture")
    (tmp_path / "empty").mkdir()
    write_run(tmp_path / "run", [train_line(50)], pictures=PICTURES)
    with pytest.raises(UserError, match=message):
        write_comparison(tmp_path / before, tmp_path / after, tmp_path / "page.html", step=step)
    assert not (tmp_path / "page.html").exists()
