"""A run over many samples: what it writes depends on nothing but the sample, and one bad sample costs itself only."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from evaluation_helpers import reconstructor
from inference_helpers import contents, hull_reconstructor, reconstruct_all, write_balls
from PIL import Image

from gslrm.data.sample import read_sample
from gslrm.errors import UserError
from gslrm.export import read_ply
from gslrm.inference import Pace, Task
from gslrm.inference.folder import DONE, OutputFolder

WHITE = torch.ones(1, 3)
NO_PICTURES = Task(render_views=(), video=False)


@pytest.fixture(scope="module")
def balls(tmp_path_factory) -> list[Path]:
    return write_balls(tmp_path_factory.mktemp("balls"), 3)


def without_records(files: dict[str, str]) -> dict[str, str]:
    return {name: digest for name, digest in files.items() if not name.endswith(DONE)}


@pytest.mark.parametrize("make", [reconstructor, hull_reconstructor])
def test_gaussians_do_not_depend_on_the_rest_of_the_batch(make, balls):
    worker = make()
    placed = [worker.place(sample, (0, 1, 2, 3)) for sample in map(read_sample, balls)]
    together = worker.reconstruct_batch(placed)
    alone = [worker.reconstruct(one) for one in placed]
    assert len({len(one.gaussians.opacities) for one in alone}) == (1 if make is reconstructor else 3)
    for one, other in zip(alone, together, strict=True):
        assert one.placed is other.placed
        for name, value in vars(one.gaussians).items():
            torch.testing.assert_close(vars(other.gaussians)[name], value, atol=2e-5, rtol=1e-4)


def test_files_do_not_depend_on_batch_or_threads(balls, tmp_path):
    worker = hull_reconstructor()
    paces = {"serial": Pace(1, 0), "threads": Pace(1, 2), "batch": Pace(8, 1)}
    for name, pace in paces.items():
        summary = reconstruct_all(worker, balls, tmp_path / name, pace=pace)
        assert (summary.done, summary.failures) == (3, ())
    serial = without_records(contents(tmp_path / "serial"))
    assert serial == without_records(contents(tmp_path / "threads"))
    assert set(contents(tmp_path / "batch")) == set(contents(tmp_path / "serial"))
    for path in sorted((tmp_path / "serial").rglob("renders/cam_*.png")):
        other = tmp_path / "batch" / path.relative_to(tmp_path / "serial")
        first, second = (np.asarray(Image.open(file), int) for file in (path, other))
        assert np.abs(first - second).max() <= 1


@pytest.mark.parametrize("make", [reconstructor, hull_reconstructor])
def test_the_ply_rendered_again_is_the_written_picture(make, balls, tmp_path):
    worker = make()
    reconstruct_all(worker, balls[:1], tmp_path)
    gaussians = read_ply(tmp_path / "frame_000/gaussians.ply")
    sample = read_sample(balls[0])
    placement = worker.place(sample, (0, 1, 2, 3)).placement
    for index in (0, 5):
        camera = sample.views[index].camera
        rendering = worker.rasterizer(
            gaussians[None], camera[None, None].float(), WHITE, resolution_ratio=placement.resolution_ratio(camera)
        )
        written = np.asarray(Image.open(tmp_path / f"frame_000/renders/cam_{index:03d}.png"), float) / 255
        again = rendering.rgb[0, 0].permute(1, 2, 0).clamp(0, 1).numpy()
        assert (written < 0.9).any()
        assert np.abs(written - again).max() <= 1.5 / 255  # one grey level, and half of one for the file's rounding


def test_a_second_run_does_nothing_and_changes_nothing(balls, tmp_path):
    worker = reconstructor()
    reconstruct_all(worker, balls, tmp_path, task=NO_PICTURES)
    before = contents(tmp_path)
    times = {path: path.stat().st_mtime_ns for path in tmp_path.glob("frame*/*")}
    assert reconstruct_all(worker, balls, tmp_path, task=NO_PICTURES).done == 0
    assert contents(tmp_path) == before
    assert {path: path.stat().st_mtime_ns for path in tmp_path.glob("frame*/*")} == times


def test_other_weights_are_other_settings(balls, tmp_path):
    worker = reconstructor()
    reconstruct_all(worker, balls[:1], tmp_path, task=NO_PICTURES)
    with torch.no_grad():
        worker.model.input_layer_norm.weight[0] += 1e-3
    with pytest.raises(UserError, match=r"weights was .*, now "):
        reconstruct_all(worker, balls[:1], tmp_path, task=NO_PICTURES)
    assert reconstruct_all(worker, balls[:1], tmp_path, task=NO_PICTURES, redo=True).done == 1


def spoil_image(sample: Path) -> None:
    path = sample / "images/cam_001.png"
    path.write_bytes(path.read_bytes()[:100])


def lose_camera_file(sample: Path) -> None:
    (sample / "opencv_cameras.json").write_text("{")


def spoil_compared_image(sample: Path) -> None:
    path = sample / "images/cam_005.png"
    path.write_bytes(path.read_bytes()[:100])


@pytest.mark.parametrize(
    ("spoil", "pace"),
    [
        (spoil_image, Pace(1, 0)),
        (spoil_image, Pace(2, 2)),
        (lose_camera_file, Pace(3, 1)),
        (spoil_compared_image, Pace(1, 2)),
    ],
)
def test_a_bad_sample_in_the_middle_is_listed_and_the_others_are_finished(spoil, pace, tmp_path):
    samples = write_balls(tmp_path / "data", 3)
    spoil(samples[1])
    summary = reconstruct_all(reconstructor(), samples, tmp_path / "out", pace=pace)
    assert summary.done == 2
    assert [failure.sample for failure in summary.failures] == ["frame_001"]
    (listed,) = json.loads((tmp_path / "out/failures.json").read_text())
    assert listed["source"] == str(samples[1]) and str(samples[1]) in listed["reason"]
    assert {path.parent.name for path in (tmp_path / "out").glob(f"*/{DONE}")} == {"frame_000", "frame_002"}
    assert not (tmp_path / "out/frame_001").exists()


def test_a_mended_sample_is_all_that_the_next_run_does(tmp_path):
    samples = write_balls(tmp_path / "data", 2)
    whole = (samples[1] / "images/cam_001.png").read_bytes()
    spoil_image(samples[1])
    reconstruct_all(reconstructor(), samples, tmp_path / "out", task=NO_PICTURES)
    (samples[1] / "images/cam_001.png").write_bytes(whole)
    summary = reconstruct_all(reconstructor(), samples, tmp_path / "out", task=NO_PICTURES)
    assert (summary.done, summary.failures) == (1, ())
    assert not (tmp_path / "out/failures.json").exists()


def test_views_that_a_sample_does_not_have_cost_that_sample_only(tmp_path):
    samples = write_balls(tmp_path / "data", 1) + write_balls(tmp_path / "few", 2, views=3)[1:]
    asked = {
        Task(render_views=(), video=False): "has 3 views, 4 are given to the model; --input-views all",
        Task(input_views="0,1,5", render_views=(), video=False): "has no view 5; its views are 0-2",
        Task(input_views="0-2", render_views=(0, 4), video=False): "has no view 4; its views are 0-2",
    }
    for number, (task, reason) in enumerate(asked.items()):
        summary = reconstruct_all(reconstructor(), samples, tmp_path / str(number), task=task)
        assert summary.done == 1
        assert reason in summary.failures[0].reason


def test_samples_of_different_numbers_of_views_share_a_run(tmp_path):
    samples = write_balls(tmp_path / "data", 1) + write_balls(tmp_path / "few", 3, views=3)[1:]
    task = Task(input_views="all", render_views=(), video=False)
    summary = reconstruct_all(reconstructor(), samples, tmp_path / "out", task=task, pace=Pace(batch=3))
    assert (summary.done, summary.failures) == (3, ())
    given = [json.loads((tmp_path / "out" / s.name / DONE).read_text())["input_views"] for s in samples]
    assert given == [list(range(6)), list(range(3)), list(range(3))]


def test_gaussians_that_are_not_finite_are_a_failure_and_no_file(balls, tmp_path):
    worker = reconstructor()
    with torch.no_grad():
        worker.model.pixel_gaussian_decoder[1].weight.fill_(float("nan"))
    summary = reconstruct_all(worker, balls[:2], tmp_path, task=NO_PICTURES)
    assert summary.done == 0
    assert "NaN or infinity" in summary.failures[1].reason
    assert not list(tmp_path.glob("frame*"))


def test_a_full_disk_ends_the_run_and_the_same_command_goes_on(balls, tmp_path, monkeypatch):
    worker = reconstructor()
    complete, written = OutputFolder.complete, []

    def full(folder: OutputFolder, sample: Path, *rest: object) -> Path:
        if written:
            monkeypatch.setattr(OutputFolder, "require_writable", refuse)
            raise OSError(28, "No space left on device")
        written.append(sample)
        return complete(folder, sample, *rest)

    def refuse(folder: OutputFolder) -> None:
        raise UserError("the disk is full")

    monkeypatch.setattr(OutputFolder, "complete", full)
    with pytest.raises(UserError, match="disk is full"):
        reconstruct_all(worker, balls, tmp_path, task=NO_PICTURES, pace=Pace(1, 1))
    monkeypatch.undo()
    assert [path.name for path in tmp_path.glob("frame*")] == ["frame_000"]
    assert not (tmp_path / "failures.json").exists()
    assert reconstruct_all(worker, balls, tmp_path, task=NO_PICTURES).done == 2


def test_too_little_memory_names_the_batch(balls, tmp_path, monkeypatch):
    worker = reconstructor()

    def exhausted(*_: object) -> None:
        raise torch.OutOfMemoryError("out of memory")

    monkeypatch.setattr(type(worker), "reconstruct_batch", exhausted)
    with pytest.raises(UserError, match="too little memory for 2 samples at once; lower --batch"):
        reconstruct_all(worker, balls, tmp_path, task=NO_PICTURES, pace=Pace(2, 1))


def test_cleaning_and_refining_are_part_of_a_run(balls, tmp_path):
    worker = reconstructor()
    config = worker.config.model_copy(
        update={"inference": worker.config.inference.model_copy(update={"clean": "opacity:0.1"})}
    )
    from gslrm.clean import parse_filters

    task = replace(NO_PICTURES, refine=1, filters=parse_filters("opacity:0.1"))
    reconstruct_all(replace(worker, config=config), balls[:1], tmp_path, task=task)
    (step,) = json.loads((tmp_path / "frame_000/clean.json").read_text())["steps"]
    assert len(read_ply(tmp_path / "frame_000/gaussians.ply").means) == step["after"] <= step["before"]
    assert json.loads((tmp_path / "frame_000/refine.json").read_text())["asked"] == 1
