"""The page by itself as a document: complete, safe, small; and the command that writes it."""

import json
import sys

import pytest
from report_helpers import read_page
from view_helpers import ROOT, write_reconstruction

from gslrm import cli
from gslrm.errors import UserError
from gslrm.view.folders import read_scene
from gslrm.view.packing import pack
from gslrm.view.static_page import SCRIPTS, page_text, write_page

sys.path.insert(0, str(ROOT / "scripts"))
import view  # noqa: E402


def scene_in(text: str) -> dict:
    return json.loads(text.partition('id="scene">')[2].partition("</script>")[0])


def test_the_page_needs_nothing_from_outside_and_holds_every_moment(tmp_path):
    for index in range(2):
        write_reconstruction(tmp_path, f"moment_{index}", shift=9.0 * index)
    scene = read_scene(tmp_path / "out")
    size = write_page(tmp_path / "page.html", [scene])
    page, text = read_page(tmp_path / "page.html"), (tmp_path / "page.html").read_text(encoding="utf-8")
    assert (
        text.startswith("<!doctype html>") and "{{" not in text and "://" not in text.replace("http://www.w3.org", "")
    )
    assert size.page == len(text.encode()) and (size.moments, size.gaussians) == (2, 4000)
    content = scene_in(text)
    assert len(content["rigs"]) == 1 and len(content["pictures"]) == 8  # the rig is shared, its pictures are not
    frames = content["models"][0]["frames"]
    assert [frame["name"] for frame in frames] == ["moment_0", "moment_1"]
    assert frames[1]["center"][0] - frames[0]["center"][0] == pytest.approx(9.0, abs=0.5)
    blocks = {tag["id"] for tag in page.of("script") if tag.get("type") == "text/plain"}
    assert blocks == {"splats-0-0", "splats-0-1"}
    assert pack(scene.moments[1].load()).text in text


def test_names_cannot_become_markup(tmp_path):
    write_reconstruction(tmp_path)
    scene = read_scene(tmp_path / "out")
    write_page(tmp_path / "page.html", [scene])
    content = scene_in((tmp_path / "page.html").read_text(encoding="utf-8"))
    content["title"] = content["models"][0]["name"] = content["models"][0]["frames"][0]["name"] = "</script><b>{{data}}"
    text = page_text(content | {"models": 2 * content["models"]}, [])
    assert "<b>" not in text and text.count("</script>") == 2


def test_pictures_can_be_left_out(tmp_path):
    write_reconstruction(tmp_path)
    scene = read_scene(tmp_path / "out")
    large = write_page(tmp_path / "large.html", [scene], picture_side=96)
    small = write_page(tmp_path / "small.html", [scene], picture_side=0)
    assert small.pictures == 0 < large.pictures < large.page - small.page < 1.1 * large.pictures
    assert "image/webp" not in (tmp_path / "small.html").read_text(encoding="utf-8").partition("<script>")[0]


def test_every_script_is_strict_and_every_key_of_the_help_works():
    text = page_text({"title": "t", "models": [{"name": "a", "frames": [1]}]}, [])
    assert text.count('"use strict";') == len(SCRIPTS)
    helped = set(" ".join(text.partition("<table>")[2].partition("</table>")[0].split("<kbd>")[1:]).split())
    named = {word.partition("</kbd>")[0] for word in helped}
    keys = text.partition("const KEYS = {")[2].partition("};")[0]
    for key in named & set("oecpmrfbsah"):
        assert f" {key}: () =>" in keys, key
    assert len(named & set("oecpmrfbsah")) == 11


def test_the_command_writes_and_weighs_the_page(tmp_path, monkeypatch, capsys):
    write_reconstruction(tmp_path)
    page = tmp_path / "page.html"
    monkeypatch.setattr(
        sys, "argv", ["view.py", str(tmp_path / "out"), "--static", str(page), "--max-gaussians", "500"]
    )
    with pytest.raises(SystemExit) as ended:
        cli.run(view.main)
    told = capsys.readouterr().out
    assert not ended.value.code and "MB; 1 moments of" in told
    assert scene_in(page.read_text(encoding="utf-8"))["models"][0]["frames"][0]["header"]["count"] <= 500


def test_an_unwritable_page_is_refused(tmp_path):
    write_reconstruction(tmp_path)
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot write"):
        write_page(tmp_path / "file" / "page.html", [read_scene(tmp_path / "out")])
