"""The report: worst first, self-contained, bounded, and true to the records."""

import io
import json
import re

import numpy as np
import pytest
from PIL import Image
from proof_helpers import bump, mouse

from gslrm.proof import Limits
from gslrm.proof.album import Album
from gslrm.proof.report import write_report
from gslrm.proof.stored import unreadable
from gslrm.proof.summary import summarize
from gslrm.proof.thumbnail import thumbnail


def records(count: int = 6) -> list[dict]:
    right = mouse(0).prove().record("right")
    wrong = bump(mouse(0), 2, 1.0).prove().record("wrong")
    made = [right | {"sample": f"sample_{index}", "time": float(index)} for index in range(count)]
    made[2] = wrong | {"sample": "sample_2", "time": 2.0}
    return made


def written(tmp_path, content, **options) -> str:
    write_report(tmp_path, iter(content), pictures=options.pop("pictures", {}), limits=Limits(), **options)
    return (tmp_path / "report.html").read_text()


def test_the_page_needs_nothing_else(tmp_path):
    page = written(tmp_path, records(), pictures={"sample_2": b"jpeg"})
    assert not re.search(r"""(src|href)=["'](?!data:)""", page) and "<script" not in page and "@import" not in page


def test_the_page_says_what_failed_why_and_what_to_do(tmp_path):
    page = written(tmp_path, records())
    assert "1 of 6 samples fail" in page
    assert "Camera3 disagrees with the other views" in page and "calibrate it again" in page
    assert 'class="verdict bad"' in page


def test_right_data_get_a_clear_yes(tmp_path):
    page = written(tmp_path, [record for record in records() if record["passed"]])
    assert 'class="verdict good"' in page and "All 5 samples pass" in page


def test_no_samples_are_no_yes(tmp_path):
    assert 'class="verdict unsure"' in written(tmp_path, [])


def test_a_name_cannot_become_markup(tmp_path):
    evil = "<img src=x onerror=alert(1)>"
    page = written(tmp_path, [record | {"sample": evil} for record in records()], pictures={evil: b""}, notes=[evil])
    assert "<img src=x" not in page and "&lt;img src=x" in page


def test_the_json_counts_what_the_records_hold(tmp_path):
    written(tmp_path, [*records(), unreadable("broken", "image is missing")], extra={"masks": "by hand"})
    content = json.loads((tmp_path / "report.json").read_text())
    assert (content["total"], content["failed"], content["passed"]) == (7, 2, 5)
    assert content["causes"] == {"turned": 1} and content["masks"] == "by hand"
    assert [failure["sample"] for failure in content["failures"]] == ["sample_2", "broken"]
    assert content["cameras"]["Camera1"]["tangent"]["median"] < 0.3
    assert content["limits"]["tangent"] == Limits().tangent


def test_the_worst_failure_comes_first():
    made = records()
    made[4] = made[2] | {"sample": "worse", "severity": 2 * made[2]["severity"]}
    assert [failure["sample"] for failure in summarize(made).failures] == ["worse", "sample_2"]


def test_curves_run_in_time_whatever_the_order_of_the_records():
    summary = summarize(reversed(records()))
    assert [x for x, _ in summary.series["hull"]["Camera1"]] == [0, 1, 2, 3, 4, 5]


def test_many_samples_make_no_larger_page(tmp_path):
    fail = records()[2]
    many = [fail | {"sample": str(index), "time": float(index)} for index in range(1600)]
    assert len(written(tmp_path, many)) < 2.5 * len(written(tmp_path, many[:200]))


def test_a_camera_that_is_off_everywhere_is_found_though_every_sample_passes(tmp_path):
    lenient = Limits(swing=100.0)
    proof = bump(mouse(0), 2, 0.2).prove(limits=lenient)
    page = written(tmp_path, [proof.record(f"sample_{index}", float(index)) for index in range(30)])
    assert 'class="verdict unsure"' in page and "Camera3 is off in all samples" in page


def test_an_album_keeps_the_worst_and_evenly_spread_ones():
    album = Album(1000, worst=3, spread=4)
    drawn = []

    def draw(index):
        drawn.append(index)
        return bytes(str(index), "ascii")

    for index in range(1000):
        severity = (index * 377) % 1000 / 1000
        record = {"sample": str(index), "severity": severity, "passed": index != 500}
        album.offer(record, lambda index=index: draw(index))
    kept = list(album.pictures)
    worst = sorted(range(1000), key=lambda index: -((index * 377) % 1000))
    assert kept[0] == "500"  # the only one that fails
    assert set(kept) == {"0", "250", "500", "750"} | {str(index) for index in worst[:3]}
    assert len(drawn) < 100


def test_a_thumbnail_is_a_small_picture_with_all_views_and_red_where_they_disagree():
    images = mouse(0).images
    right, wrong = thumbnail(mouse(0).prove(), images), thumbnail(bump(mouse(0), 2, 3.0).prove(), images)

    def redness(content):
        picture = np.asarray(Image.open(io.BytesIO(content)).convert("RGB")).astype(int)
        assert picture.shape[1] > 6 * 150 and len(content) < 80_000
        return int(((picture[..., 0] > 170) & (picture[..., 1] < 90)).sum())

    assert redness(wrong) > 200 + redness(right)


@pytest.mark.parametrize("kind", [np.uint8, np.float32])
def test_a_thumbnail_takes_both_kinds_of_pictures_and_views_without_an_animal(kind):
    shots = mouse(0).with_masks(lambda index, mask: np.zeros_like(mask) if index < 5 else mask)
    images = [(image * (255 if kind == np.uint8 else 1)).astype(kind) for image in shots.images]
    assert Image.open(io.BytesIO(thumbnail(shots.prove(), images))).format == "JPEG"
