import dataclasses
import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import plyfile
import pytest
import torch
from export_helpers import FIELDS, assert_same, random_gaussians
from helpers import FIXTURES

from gslrm import export
from gslrm.errors import UserError
from gslrm.harmonics import degree_0_from_rgb
from gslrm.types import Gaussians

FACELIFT = FIXTURES / "facelift"


@pytest.mark.parametrize("degree", range(4))
def test_reading_what_was_written_returns_the_gaussians(tmp_path: Path, degree: int) -> None:
    gaussians = random_gaussians(degree=degree)
    export.write_ply(gaussians, tmp_path / "new" / "g.ply")
    assert_same(export.read_ply(tmp_path / "new" / "g.ply"), gaussians)


@pytest.mark.parametrize("write", [export.write_ply, export.write_lgm_ply])
def test_unit_rotations_are_written_and_read_bit_for_bit(tmp_path: Path, write: Callable[..., None]) -> None:
    """To normalise them again would move a last bit of some."""
    gaussians = random_gaussians(500)
    write(gaussians, tmp_path / "g.ply", min_opacity=0.0)
    assert torch.equal(export.read_ply(tmp_path / "g.ply").rotations, gaussians.rotations)


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


def test_lgms_layout_is_14_properties_without_faint_gaussians(tmp_path: Path) -> None:
    gaussians = random_gaussians(degree=2)
    gaussians.opacities[:3] = torch.tensor([0.0049, 0.005, 0.0])
    gaussians.scales[1] = 0
    export.write_lgm_ply(gaussians, tmp_path / "g.ply")
    data = plyfile.PlyData.read(tmp_path / "g.ply")
    vertex = data["vertex"]
    assert data.byte_order == "<" and not data.text
    assert [prop.name for prop in vertex.properties] == [
        *("x", "y", "z", "f_dc_0", "f_dc_1", "f_dc_2", "opacity"),
        *("scale_0", "scale_1", "scale_2", "rot_0", "rot_1", "rot_2", "rot_3"),
    ]
    kept = gaussians[gaussians.opacities >= 0.005]
    assert len(vertex.data) == len(kept.means) == 48
    np.testing.assert_allclose(vertex["scale_2"], (kept.scales[:, 2] + 1e-8).log(), rtol=1e-4)
    np.testing.assert_allclose(vertex["scale_0"][0], np.log(1e-8), rtol=1e-5)
    np.testing.assert_array_equal(vertex["f_dc_1"], kept.harmonics[:, 0, 1])
    assert export.read_gaussians(tmp_path / "g.ply").degree == 0


LGM_CASES = Path(__file__).parents[3] / "shared" / "fixtures" / "lgm"


@pytest.mark.skipif(not LGM_CASES.is_dir(), reason="LGM's recorded cases are not on this machine")
def test_lgms_file_is_written_as_lgm_writes_it_and_read_as_lgm_reads_it(tmp_path: Path) -> None:
    truth = np.load(LGM_CASES / "ply.npz")
    position, opacity, scale, rotation, colour = torch.from_numpy(truth["gaussians"][0]).split((3, 1, 3, 4, 3), dim=-1)
    gaussians = Gaussians(position, scale, rotation, opacity[:, 0], degree_0_from_rgb(colour)[:, None])
    export.write_lgm_ply(gaussians, tmp_path / "ours.ply")
    theirs = truth["ply_bytes_compatible1"].tobytes()
    assert (tmp_path / "ours.ply").read_bytes() == theirs
    (tmp_path / "theirs.ply").write_bytes(theirs)
    read = export.read_gaussians(tmp_path / "theirs.ply")
    kept = gaussians[gaussians.opacities >= 0.005]
    assert_same(read, kept)
