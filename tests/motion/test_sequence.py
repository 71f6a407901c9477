"""Sequences: what is written is read, within the bounds of .spz; what is damaged is refused by name."""

import json
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from export_helpers import covariances, mouse_like
from helpers import ring

from gslrm.errors import UserError
from gslrm.export.scene import spatial_order
from gslrm.motion import Frame, FrameCamera, read_sequence, write_sequence
from gslrm.types import Gaussians

UP = (0.0, 0.0, 1.0)


def moved(gaussians: Gaussians, shift: list[float]) -> Gaussians:
    return replace(gaussians, means=gaussians.means + torch.tensor(shift))


def frames(count: int = 3, gaussians: int = 400) -> list[Frame]:
    cameras = ring(2)
    seen_by = tuple(FrameCamera(f"Camera{index}", cameras[index], index == 0) for index in range(2))
    scene = mouse_like(gaussians)
    return [
        Frame(f"frame_{index:06d}", 0.5 * index, moved(scene[: gaussians - index], [0.1 * index, 0, 0]), seen_by)
        for index in range(count)
    ]


def write(folder: Path, given: list[Frame] | None = None):
    return write_sequence(folder, given or frames(), fps=2.0, unit="mm", up=UP)


def edited(folder: Path, change) -> Path:
    path = folder / "manifest.json"
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))
    return folder


def test_reading_gives_back_what_was_written(tmp_path):
    given = frames()
    write(tmp_path / "sequence", given)
    sequence = read_sequence(tmp_path / "sequence")
    assert len(sequence) == 3 and sequence.times == [0.0, 0.5, 1.0]
    assert sequence.manifest.unit == "mm" and sequence.manifest.fps == 2
    assert sequence.up.tolist() == list(UP)
    for index, right in enumerate(given):
        ours, expected = sequence.frame(index), right.gaussians[spatial_order(right.gaussians.means)]
        assert (ours.name, ours.time, ours.sample) == (right.name, right.time, None)
        usual = float(expected.scales.median())
        assert float((ours.gaussians.means - expected.means).abs().max()) <= usual / 8
        assert float((ours.gaussians.scales / expected.scales - 1).abs().max()) < 0.035
        assert float((ours.gaussians.opacities - expected.opacities).abs().max()) <= 0.5 / 255 + 1e-6
        assert float((ours.gaussians.harmonics - expected.harmonics).abs().max()) <= 0.5 / 255 / 0.15 + 1e-6
        error = (covariances(ours.gaussians) - covariances(expected)).norm(dim=(1, 2)) / covariances(expected).norm(
            dim=(1, 2)
        )
        assert float(error.max()) < 0.08
        for camera, expected_camera in zip(ours.cameras, right.cameras, strict=True):
            assert (camera.name, camera.is_input) == (expected_camera.name, expected_camera.is_input)
            torch.testing.assert_close(camera.camera.world_from_camera, expected_camera.camera.world_from_camera)
            torch.testing.assert_close(camera.camera.focal, expected_camera.camera.focal)


def test_the_bounds_hold_the_solid_gaussians_of_all_frames_and_fit_the_unit_ball(tmp_path):
    given = frames()
    manifest = write(tmp_path / "sequence", given).manifest
    for frame in given:
        solid = frame.gaussians.means[frame.gaussians.opacities >= 0.1].double()
        inside = (solid >= torch.tensor(manifest.bounds.low)) & (solid <= torch.tensor(manifest.bounds.high))
        assert float(inside.all(dim=1).double().mean()) > 0.96  # outliers do not widen the box
    shared = manifest.normalisation
    corners = torch.tensor([manifest.bounds.low, manifest.bounds.high], dtype=torch.float64)
    lengths = (shared.scale * (corners - torch.tensor(shared.center, dtype=torch.float64))).norm(dim=1)
    torch.testing.assert_close(lengths, torch.ones(2, dtype=torch.float64))


def test_centres_follow_the_object(tmp_path):
    manifest = write(tmp_path / "sequence", [replace(frame, gaussians=moved(mouse_like(400), [0.1 * index, 0, 0]))
                                             for index, frame in enumerate(frames())]).manifest  # fmt: skip
    steps = np.diff(np.array([frame.center for frame in manifest.frames]), axis=0)
    np.testing.assert_allclose(steps, [[0.1, 0, 0]] * 2, atol=1e-6)


def test_a_frame_without_anything_solid_has_no_centre(tmp_path):
    clear = replace(mouse_like(20), opacities=torch.zeros(20))
    write(tmp_path / "sequence", [Frame("a", 0.0, clear), Frame("b", 1.0, clear[:0])])
    sequence = read_sequence(tmp_path / "sequence")
    assert [frame.center for frame in sequence.manifest.frames] == [None, None]
    assert [len(sequence.gaussians(index).means) for index in range(2)] == [20, 0]


def test_a_hundred_frames_take_less_than_an_eighth_of_their_ply_files(tmp_path):
    given = [Frame(f"f{index:03d}", float(index), mouse_like(500)) for index in range(100)]
    sequence = write(tmp_path / "sequence", given)
    on_disk = sum(path.stat().st_size for path in (tmp_path / "sequence").rglob("*") if path.is_file())
    assert sequence.size < on_disk < 100 * 500 * (14 + 3 + 45) * 4 / 8


def test_samples_are_named_relative_to_the_folder(tmp_path):
    (tmp_path / "data" / "frame_1").mkdir(parents=True)
    write(tmp_path / "out" / "sequence", [Frame("frame_1", 0.0, mouse_like(10), sample=tmp_path / "data" / "frame_1")])
    (tmp_path / "out").rename(tmp_path / "elsewhere")
    found = read_sequence(tmp_path / "elsewhere" / "sequence").sample(0)
    assert found is not None and found.samefile(tmp_path / "data" / "frame_1")


def test_the_resolution_ratio_is_that_of_pixels_at_the_animal(tmp_path):
    frame = Frame("a", 0.0, mouse_like(400), density=2.0)
    sequence = write(tmp_path / "sequence", [frame, replace(frame, name="b", time=1.0, density=None)])
    camera = ring(1)[0]
    distance = (camera.position - torch.tensor(sequence.manifest.frames[0].center, dtype=torch.float64)).norm()
    expected = float(camera.focal.mean() / distance) / 2
    assert sequence.resolution_ratio(0, camera) == pytest.approx(expected)
    assert sequence.resolution_ratio(1, camera) == 1
    assert sequence.frame(0).density == 2


def test_the_manifest_itself_opens_the_sequence(tmp_path):
    write(tmp_path / "sequence")
    assert len(read_sequence(tmp_path / "sequence" / "manifest.json")) == 3


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ([], "at least 1 item"),
        ([Frame("a", 0.0, mouse_like(5)), Frame("a", 1.0, mouse_like(5))], "same name"),
        ([Frame("a", 0.0, mouse_like(5)), Frame("b", 0.0, mouse_like(5))], "do not ascend"),
        ([Frame("a", 0.0, replace(mouse_like(5), opacities=torch.full((5,), torch.nan)))], "NaN"),
    ],
)
def test_what_is_no_sequence_is_not_written(tmp_path, given, message):
    with pytest.raises(ValueError, match=message):
        write_sequence(tmp_path / "sequence", given, fps=1.0, unit="", up=UP)
    assert not list(tmp_path.iterdir())


def test_a_failure_leaves_the_earlier_sequence_in_place(tmp_path):
    write(tmp_path / "sequence")

    def failing():
        yield frames()[0]
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_sequence(tmp_path / "sequence", failing(), fps=1.0, unit="", up=UP)
    assert [path.name for path in tmp_path.iterdir()] == ["sequence"]
    assert len(read_sequence(tmp_path / "sequence")) == 3


def test_a_new_sequence_replaces_the_earlier_one_whole(tmp_path):
    write(tmp_path / "sequence")
    write(tmp_path / "sequence", frames(1))
    assert len(list((tmp_path / "sequence" / "frames").iterdir())) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["sequence"]


def test_a_folder_of_something_else_is_never_replaced(tmp_path):
    (tmp_path / "sequence").mkdir()
    (tmp_path / "sequence" / "thesis.txt").write_text("years of work")
    with pytest.raises(UserError, match="is no sequence"):
        write(tmp_path / "sequence")
    assert (tmp_path / "sequence" / "thesis.txt").is_file()


def cut_short(folder: Path) -> None:
    path = folder / "frames" / "frame_000001.spz"
    path.write_bytes(path.read_bytes()[:-5])


def later_version(folder: Path) -> None:
    edited(folder, lambda content: content.update(version=2))


def outside(folder: Path) -> None:
    edited(folder, lambda content: content["frames"][0].update(file="../../secret.spz"))


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda folder: (folder / "manifest.json").unlink(), "make_sequence"),
        (lambda folder: (folder / "manifest.json").write_text('{"format": '), "manifest.json cannot be used"),
        (lambda folder: (folder / "manifest.json").write_text("[]"), "manifest.json cannot be used"),
        (lambda folder: edited(folder, lambda content: content.pop("fps")), "fps: Field required"),
        (lambda folder: edited(folder, lambda content: content.update(fps=float("nan"))), "fps"),
        (lambda folder: edited(folder, lambda content: content.update(frames=[])), "frames"),
        (lambda folder: edited(folder, lambda content: content["frames"].reverse()), "do not ascend"),
        (later_version, "version: Input should be 1"),
        (outside, "no path inside the folder"),
        (lambda folder: (folder / "frames" / "frame_000001.spz").unlink(), r"frame_000001.spz is missing"),
        (cut_short, r"frame_000001.spz has \d+ bytes instead of"),
    ],
)
def test_damage_is_told_by_name_when_a_sequence_is_opened(tmp_path, damage, message):
    write(tmp_path / "sequence")
    damage(tmp_path / "sequence")
    with pytest.raises(UserError, match=message):
        read_sequence(tmp_path / "sequence")


@pytest.mark.parametrize("place", [0, 9, 12, 60, -1])  # 9: a byte of the header that gzip does not check
def test_a_changed_byte_of_a_frame_is_noticed(tmp_path, place):
    write(tmp_path / "sequence")
    path = tmp_path / "sequence" / "frames" / "frame_000001.spz"
    content = bytearray(path.read_bytes())
    content[place] ^= 0x10
    path.write_bytes(content)
    sequence = read_sequence(tmp_path / "sequence")
    assert len(sequence.gaussians(0).means) == 400
    with pytest.raises(UserError, match="frame_000001.spz is damaged"):
        sequence.gaussians(1)


def test_a_frame_that_is_not_the_described_one_is_refused(tmp_path):
    write(tmp_path / "sequence")
    edited(tmp_path / "sequence", lambda content: content["frames"][0].update(count=7))
    with pytest.raises(UserError, match="holds 400 Gaussians, not 7"):
        read_sequence(tmp_path / "sequence").gaussians(0)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_cannot_be_written_is_told(tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(UserError, match="cannot write"):
        write(tmp_path / "sequence")
