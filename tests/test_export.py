import dataclasses
import json
import math
from pathlib import Path

import cv2
import imageio_ffmpeg
import numpy as np
import plyfile
import pytest
import torch

from gslrm import export
from gslrm.errors import UserError
from gslrm.types import Gaussians

FACELIFT = Path(__file__).parent / "fixtures" / "facelift"
FIELDS = ("means", "scales", "rotations", "opacities", "harmonics")


def random_gaussians(count: int = 50, degree: int = 0) -> Gaussians:
    generator = torch.Generator().manual_seed(degree)
    normal = lambda *shape: torch.randn(*shape, generator=generator)  # noqa: E731
    return Gaussians(
        means=100 * normal(count, 3),
        scales=normal(count, 3).exp(),
        rotations=torch.nn.functional.normalize(normal(count, 4), dim=-1),
        opacities=torch.rand(count, generator=generator),
        harmonics=normal(count, (degree + 1) ** 2, 3),
    )


def assert_same(left: Gaussians, right: Gaussians, tolerance: float = 2e-6) -> None:
    for name in FIELDS:
        torch.testing.assert_close(getattr(left, name), getattr(right, name), rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("degree", range(4))
def test_reading_what_was_written_returns_the_gaussians(tmp_path: Path, degree: int) -> None:
    gaussians = random_gaussians(degree=degree)
    export.write_ply(gaussians, tmp_path / "new" / "g.ply")
    assert_same(export.read_ply(tmp_path / "new" / "g.ply"), gaussians)


def test_opacities_of_0_and_1_and_scales_of_0_survive_the_round_trip(tmp_path: Path) -> None:
    gaussians = random_gaussians(3)
    gaussians = dataclasses.replace(gaussians, opacities=torch.tensor([0.0, 1.0, 0.5]), scales=torch.zeros(3, 3))
    export.write_ply(gaussians, tmp_path / "g.ply")
    vertex = plyfile.PlyData.read(tmp_path / "g.ply")["vertex"]
    assert all(np.isfinite(vertex[prop.name]).all() for prop in vertex.properties)
    assert_same(export.read_ply(tmp_path / "g.ply"), gaussians)


@pytest.mark.parametrize("degree", range(4))
def test_a_second_reader_finds_the_original_layout(tmp_path: Path, degree: int) -> None:
    gaussians = random_gaussians(degree=degree)
    export.write_ply(gaussians, tmp_path / "g.ply")
    data = plyfile.PlyData.read(tmp_path / "g.ply")
    assert data.byte_order == "<" and not data.text
    vertex = data["vertex"]
    stride = (degree + 1) ** 2 - 1
    assert [p.name for p in vertex.properties] == [
        *("x", "y", "z", "nx", "ny", "nz", "f_dc_0", "f_dc_1", "f_dc_2"),
        *(f"f_rest_{i}" for i in range(3 * stride)),
        *("opacity", "scale_0", "scale_1", "scale_2", "rot_0", "rot_1", "rot_2", "rot_3"),
    ]
    assert {p.val_dtype for p in vertex.properties} == {"f4"}
    for channel in range(3):
        np.testing.assert_array_equal(vertex[f"f_dc_{channel}"], gaussians.harmonics[:, 0, channel])
        for k in range(stride):
            name = f"f_rest_{channel * stride + k}"
            np.testing.assert_array_equal(vertex[name], gaussians.harmonics[:, k + 1, channel])
    np.testing.assert_allclose(vertex["scale_1"], gaussians.scales[:, 1].log(), atol=1e-6)
    np.testing.assert_allclose(vertex["rot_0"], gaussians.rotations[:, 0], atol=1e-6)
    np.testing.assert_allclose(1 / (1 + np.exp(-vertex["opacity"])), gaussians.opacities, atol=2e-6)


def test_faint_gaussians_are_left_out(tmp_path: Path) -> None:
    gaussians = random_gaussians()
    export.write_ply(gaussians, tmp_path / "g.ply", min_opacity=0.4)
    assert_same(export.read_ply(tmp_path / "g.ply"), gaussians[gaussians.opacities >= 0.4])
    export.write_ply(gaussians, tmp_path / "none.ply", min_opacity=1.1)
    assert export.read_ply(tmp_path / "none.ply").means.shape == (0, 3)


@pytest.mark.parametrize("name", FIELDS)
def test_nan_is_refused_and_leaves_no_file(tmp_path: Path, name: str) -> None:
    gaussians = random_gaussians()
    gaussians.opacities[:] = 0.9
    getattr(gaussians, name).view(-1)[0] = math.nan
    with pytest.raises(ValueError, match="NaN"):
        export.write_ply(gaussians, tmp_path / "g.ply", min_opacity=0.5)
    assert not list(tmp_path.iterdir())


def test_a_batch_is_refused(tmp_path: Path) -> None:
    batch = random_gaussians().map(lambda tensor: tensor[None])
    with pytest.raises(ValueError, match="one scene"):
        export.write_ply(batch, tmp_path / "g.ply")


def test_reads_facelifts_file_as_facelift_activates_it() -> None:
    gaussians = export.read_ply(FACELIFT / "gs0_unfiltered.ply")
    truth = {key: torch.from_numpy(value) for key, value in np.load(FACELIFT / "gaussians_cameras.npz").items()}
    expected = Gaussians(
        means=truth["gs0_xyz"],
        scales=truth["gs0_act_scaling"],
        rotations=truth["gs0_act_rotation"],
        opacities=truth["gs0_act_opacity"][:, 0],
        harmonics=truth["gs0_features"],
    )
    assert_same(gaussians, expected)


@pytest.mark.parametrize("degree", [1, 2])
def test_reads_facelifts_padded_harmonics_at_their_own_stride(tmp_path: Path, degree: int) -> None:
    gaussians = random_gaussians(degree=degree)
    rest = np.zeros((50, 45), np.float32)
    stride = (degree + 1) ** 2 - 1
    rest[:, : 3 * stride] = gaussians.harmonics[:, 1:].permute(0, 2, 1).reshape(50, -1).numpy()
    columns = {name: gaussians.means[:, i] for i, name in enumerate("xyz")}
    columns |= {name: torch.zeros(50, dtype=torch.uint8) for name in ("red", "green", "blue")}
    columns |= {f"f_dc_{i}": gaussians.harmonics[:, 0, i] for i in range(3)}
    columns |= {f"f_rest_{i}": torch.from_numpy(rest[:, i]) for i in range(45)}
    columns |= {"opacity": gaussians.opacities.logit()}
    columns |= {f"scale_{i}": gaussians.scales[:, i].log() for i in range(3)}
    columns |= {f"rot_{i}": 3 * gaussians.rotations[:, i] for i in range(4)}
    write_with_plyfile(tmp_path / "g.ply", {name: column.numpy() for name, column in columns.items()})
    assert_same(export.read_ply(tmp_path / "g.ply"), gaussians)


@pytest.mark.parametrize("byte_order", ["<", ">"])
def test_the_number_of_harmonics_gives_the_degree_of_other_files(tmp_path: Path, byte_order: str) -> None:
    gaussians = random_gaussians(degree=3)
    gaussians.harmonics[:, 1:] = 0
    export.write_ply(gaussians, tmp_path / "g.ply")
    data = plyfile.PlyData.read(tmp_path / "g.ply")
    data.byte_order = byte_order
    data.write(tmp_path / "h.ply")
    assert_same(export.read_ply(tmp_path / "h.ply"), gaussians)


def write_with_plyfile(path: Path, columns: dict[str, np.ndarray], text: bool = False, element: str = "vertex") -> None:
    rows = np.empty(len(next(iter(columns.values()))), [(name, column.dtype) for name, column in columns.items()])
    for name, column in columns.items():
        rows[name] = column
    plyfile.PlyData([plyfile.PlyElement.describe(rows, element)], text=text).write(path)


def broken_files(folder: Path) -> dict[str, Path]:
    """Files that are no 3DGS .ply, by what the message must say."""
    export.write_ply(random_gaussians(), folder / "whole.ply")
    whole = (folder / "whole.ply").read_bytes()
    points = {name: np.zeros(4, np.float32) for name in "xyz"}
    (folder / "cut.ply").write_bytes(whole[:-1])
    (folder / "image.ply").write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(range(256)))
    (folder / "empty.ply").write_bytes(b"")
    (folder / "seven.ply").write_bytes(whole.replace(b"float nx", b"float f_rest_0"))
    write_with_plyfile(folder / "cloud.ply", points)
    write_with_plyfile(folder / "text.ply", points, text=True)
    write_with_plyfile(folder / "chunk.ply", points, element="chunk")
    return {
        "cut short": folder / "cut.ply",
        "not a .ply": folder / "image.ply",
        "is not a .ply file": folder / "empty.ply",
        "1 f_rest": folder / "seven.ply",
        "lacks f_dc_0": folder / "cloud.ply",
        "binary": folder / "text.ply",
        "uncompressed": folder / "chunk.ply",
        "No such file": folder / "missing.ply",
    }


def test_files_that_cannot_be_read_are_named_with_the_reason(tmp_path: Path) -> None:
    for reason, path in broken_files(tmp_path).items():
        with pytest.raises(UserError, match=reason) as caught:
            export.read_ply(path)
        assert path.name in str(caught.value)


def test_an_interrupted_writer_leaves_the_previous_file_alone(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("old")
    with pytest.raises(KeyboardInterrupt), export.replacing(path) as temporary:
        temporary.write_text("half")
        raise KeyboardInterrupt
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_an_impossible_output_folder_is_a_user_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="another output folder"):
        export.write_json(tmp_path / "file" / "a.json", {})


def test_json_round_trip_and_refusal_of_nan(tmp_path: Path) -> None:
    export.write_json(tmp_path / "a.json", {"psnr": 1.5, "names": ["a"]})
    assert json.loads((tmp_path / "a.json").read_text()) == {"psnr": 1.5, "names": ["a"]}
    with pytest.raises(ValueError):
        export.write_json(tmp_path / "a.json", {"psnr": math.nan})


def test_png_rounds_to_the_nearest_level_and_clamps(tmp_path: Path) -> None:
    values = torch.tensor([[-0.5, 0.0, 0.6 / 255, 99.4 / 255], [99.6 / 255, 254.6 / 255, 1.0, 1.5]])
    export.write_png(tmp_path / "rgb.png", torch.stack([values, torch.zeros(2, 4), torch.ones(2, 4)]))
    bgr = cv2.imread(str(tmp_path / "rgb.png"), cv2.IMREAD_UNCHANGED)
    np.testing.assert_array_equal(bgr[..., 2], [[0, 0, 1, 99], [100, 255, 255, 255]])
    assert bgr.dtype == np.uint8 and (bgr[..., 1] == 0).all() and (bgr[..., 0] == 255).all()
    export.write_png(tmp_path / "alpha.png", values[None])
    alpha = cv2.imread(str(tmp_path / "alpha.png"), cv2.IMREAD_UNCHANGED)
    np.testing.assert_array_equal(alpha, bgr[..., 2])


def test_every_level_survives_a_png(tmp_path: Path) -> None:
    levels = torch.arange(256).reshape(1, 16, 16)
    export.write_png(tmp_path / "a.png", levels / 255)
    np.testing.assert_array_equal(cv2.imread(str(tmp_path / "a.png"), cv2.IMREAD_UNCHANGED), levels[0])


def test_an_image_with_nan_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="NaN"):
        export.write_png(tmp_path / "a.png", torch.full((3, 2, 2), math.nan))


@pytest.mark.parametrize("largest", [1e-3, 0.65535, 0.7, 2.7, 246.3, 655.35, 65535.0, 65536.0, 4e6])
def test_depth_scale_uses_at_least_two_fifths_of_16_bits_and_is_round(largest: float) -> None:
    scale = export.depth_scale(largest)
    assert 0.4 * 65535 * (1 - 1e-9) < largest * scale <= 65535
    assert f"{scale:e}"[0] in "125" and float(f"{scale:.0e}") == scale


def test_depth_scale_of_nothing_is_1_and_of_nonsense_refused() -> None:
    assert export.depth_scale(0.0) == 1.0
    for nonsense in (-1.0, math.inf, math.nan):
        with pytest.raises(ValueError):
            export.depth_scale(nonsense)


def test_depth_round_trip_is_within_half_a_step(tmp_path: Path) -> None:
    depth = 300 * torch.rand(1, 20, 30, generator=torch.Generator().manual_seed(0))
    scale = export.depth_scale(depth.max().item())
    export.write_depth(tmp_path / "d.png", depth, scale)
    values = cv2.imread(str(tmp_path / "d.png"), cv2.IMREAD_UNCHANGED)
    assert values.dtype == np.uint16
    assert np.abs(values / scale - depth[0].double().numpy()).max() <= 0.5 / scale * (1 + 1e-9)


@pytest.mark.parametrize("depth", [655.36, -1.0, math.nan, math.inf])
def test_depth_that_does_not_fit_is_refused(tmp_path: Path, depth: float) -> None:
    with pytest.raises(ValueError, match="depth_scale"):
        export.write_depth(tmp_path / "d.png", torch.full((1, 2, 2), depth), 100.0)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(("height", "width"), [(64, 48), (65, 47), (64, 47)])
def test_video_has_every_frame_in_its_size_and_colour(tmp_path: Path, height: int, width: int) -> None:
    colours = np.array([(255, 255, 255), (200, 30, 40), (30, 180, 60), (20, 60, 220), (0, 0, 0), (128, 128, 128)])
    frames = (np.broadcast_to(colour.astype(np.uint8), (height, width, 3)) for colour in colours)
    export.write_video(tmp_path / "v.mp4", frames, fps=10)
    reader = imageio_ffmpeg.read_frames(str(tmp_path / "v.mp4"))
    meta = next(reader)
    size = (width + width % 2, height + height % 2)
    assert meta["source_size"] == size
    assert meta["codec"] == "h264" and meta["pix_fmt"].startswith("yuv420p(tv, bt709")  # matrix, range
    assert meta["fps"] == 10
    found = [np.frombuffer(frame, np.uint8).reshape(size[1], size[0], 3) for frame in reader]
    assert len(found) == len(colours)
    for frame, colour in zip(found, colours, strict=True):
        assert np.abs(frame.astype(int) - colour).max() <= 4
    assert list(tmp_path.iterdir()) == [tmp_path / "v.mp4"]


def test_video_keeps_the_picture_in_place_when_it_pads(tmp_path: Path) -> None:
    frame = np.full((65, 65, 3), 255, np.uint8)
    frame[:32, :16] = 0
    export.write_video(tmp_path / "v.mp4", [frame])
    reader = imageio_ffmpeg.read_frames(str(tmp_path / "v.mp4"))
    next(reader)
    found = np.frombuffer(next(reader), np.uint8).reshape(66, 66, 3).astype(int)
    reader.close()
    assert np.abs(found[:65, :65] - frame).mean() < 1
    assert found[:30, :14].max() < 40 and found[34:].min() > 215 and found[:, 18:].min() > 215


def test_video_without_frames_or_with_changing_frames_is_refused_and_leaves_no_file(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no frames"):
        export.write_video(tmp_path / "v.mp4", [])
    with pytest.raises(ValueError, match="frame 1"):
        export.write_video(tmp_path / "v.mp4", [np.zeros((16, 16, 3), np.uint8), np.zeros((16, 18, 3), np.uint8)])
    assert not list(tmp_path.iterdir())
