"""Run folders without a run, and a reader of pages that refuses what is not well-formed or leads outside."""

import json
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
from PIL import Image

from gslrm.config import Config
from gslrm.config_io import config_from_mapping, save_config

VOID = {"img", "meta", "input", "br", "hr", "line", "rect", "circle", "path"}


class Page(HTMLParser):
    """A parsed page: its text, its tags with their attributes; every element is closed in order."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.text: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.feed(text)
        self.close()
        assert not self.open, f"not closed: {self.open}"

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))

    def handle_endtag(self, tag):
        assert tag in VOID or (self.open and self.open.pop() == tag), f"</{tag}> closes nothing"

    def handle_data(self, data):
        if not self.open or self.open[-1] not in ("style", "script"):
            self.text.append(data)

    @property
    def words(self) -> str:
        return " ".join(" ".join(self.text).split())

    def of(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]


def read_page(path: Path) -> Page:
    """Parse a page and assert that it needs nothing from outside."""
    text = path.read_text(encoding="utf-8")
    page = Page(text)
    for tag, attributes in page.tags:
        for name in ("src", "href", "srcset", "data", "poster", "action"):
            assert (attributes.get(name) or "data:").startswith("data:"), (tag, attributes.get(name))
    style = text.partition("<style>")[2].partition("</style>")[0]
    assert "url(" not in style and "@import" not in style
    return page


def configuration(passes: int = 20) -> Config:
    return config_from_mapping({"training": {"schedule": {"max_fwdbwd_passes": passes}}}, source="test")


def train_line(step: int, **more: object) -> dict:
    parts = {"data": 0.01, "forward": 0.05, "render": 0.02, "loss": 0.01, "backward": 0.08, "update": 0.03}
    times = {f"train/time_{name}": seconds for name, seconds in parts.items()}
    values = {"loss": 1 / step, "l2_loss": 0.5 / step, "lr": 1e-4, "grad_norm": 2.5, "mask_iou": 0.5, "step_time": 0.2}
    logged = {f"train/{name}": value for name, value in values.items()} | times
    return {"step": step, **logged, "train/skipped_updates": 0, "train/skipped_total": 0, **more}


def val_line(step: int) -> dict:
    line: dict = {"step": step}
    for prefix, bonus in (("val/", 3.0), ("val_heldout/", 0.0)):
        for method, level in (("", 10.0), ("white_", 2.0), ("nearest_input_", 6.0)):
            line |= {f"{prefix}{method}psnr_fg": level + bonus + step / 100, f"{prefix}{method}mask_iou": 0.5}
    return line


def write_run(
    folder: Path, entries: list[dict], *, passes: int = 20, pictures: dict[str, np.ndarray] | None = None
) -> Path:
    """A run folder with these figures and pictures (file name to pixels)."""
    (folder / "pictures").mkdir(parents=True)
    save_config(configuration(passes), folder / "config.yaml")
    environment = {"command": ["train.py"], "python": "3.11", "packages": {"torch": "2.9"}, "git_diff": "a\nb"}
    (folder / "environment.json").write_text(json.dumps(environment))
    (folder / "metrics.jsonl").write_text("".join(json.dumps(entry) + "\n" for entry in entries))
    for name, pixels in (pictures or {}).items():
        Image.fromarray(pixels).save(folder / "pictures" / name)
    return folder


def flat(level: int, height: int = 40, width: int = 80) -> np.ndarray:
    return np.full((height, width, 3), level, np.uint8)
