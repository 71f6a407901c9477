import numpy as np
import pytest
import torch

from gslrm import visualize
from gslrm.cameras import Cameras
from gslrm.types import Rendering, Views
from gslrm.visualize.colours import DEPTH

GREY = round(0.3 * 255)


def scene(count: int, size: int = 64) -> tuple[Views, Rendering]:
    """Views that are one colour each: green level in the truth, blue level in the rendering; masks fill the left."""
    level = torch.arange(1, count + 1)[:, None, None] * 10 / 255
    truth, rgb = torch.zeros(2, count, 3, size, size)
    truth[:, 1] = level
    rgb[:, 2] = level
    mask = torch.zeros(count, 1, size, size)
    mask[..., : size // 2] = 1
    cameras = Cameras.orbit(count, radius=2.7, size=size)
    return Views(truth, mask, cameras), Rendering(rgb, mask, mask)


def boxes(picture: np.ndarray, colour: tuple[int, int, int]) -> tuple[int, int, int, int]:
    """First and last row and column in which a colour occurs."""
    rows, columns = np.nonzero((picture == colour).all(axis=-1))
    return rows.min(), rows.max(), columns.min(), columns.max()


@pytest.mark.parametrize("size", [24, 64, 200])
def test_grid_has_a_column_per_view_in_order_and_truth_above_rendering(size: int) -> None:
    target, rendering = scene(6, size)
    picture = visualize.gt_vs_pred_grid(target, rendering)
    truth = [boxes(picture, (0, 10 * i, 0)) for i in range(1, 7)]
    rendered = [boxes(picture, (0, 0, 10 * i)) for i in range(1, 7)]
    cell = truth[0][3] - truth[0][2] + 1
    assert cell >= 160 and cell % size == 0
    for above, below in zip(truth, rendered, strict=True):
        assert above[2:] == below[2:] and above[0] < below[0]
    assert all(left[3] < right[2] for left, right in zip(truth, truth[1:], strict=False))
    assert len({box[0] for box in truth}) == len({box[0] for box in rendered}) == 1


def row_of_cells(picture: np.ndarray, target: Views, rendering: Rendering, row: int, view: int) -> np.ndarray:
    """The cell of a sheet, measured from where the first two rows lie."""
    top, _, left, right = boxes(picture, (0, 10 * (view + 1), 0))
    pitch = boxes(picture, (0, 0, 10 * (view + 1)))[0] - top
    return picture[top + row * pitch : top + row * pitch + right - left + 1, left : right + 1]


def test_grid_rows_are_truth_rendering_their_overlays_and_the_error() -> None:
    target, rendering = scene(3, size=200)
    alpha = torch.zeros_like(rendering.alpha)
    alpha[..., 100:, :] = 1  # the model's silhouette is another one: the lower half
    rendering = Rendering(rendering.rgb, alpha, alpha)
    picture = visualize.gt_vs_pred_grid(target, rendering)
    cells = [row_of_cells(picture, target, rendering, row, view=1) for row in range(5)]
    green, blue = np.array([0, 20, 0]), np.array([0, 0, 20])
    assert (cells[0] == green).all() and (cells[1] == blue).all()
    assert (cells[2][:, :99] != green).any(axis=-1).all() and (cells[2][:, 110:] == green).all()
    assert (cells[3][101:, :99] != blue).any(axis=-1).all() and (cells[3][:100, :99] == blue).all()
    contour = np.round(np.array(visualize.CONTOUR) * 255)
    assert (cells[2][:, 100] == contour).all() and (cells[3][:, 100] == contour).all()
    assert (cells[4][:, 100:] == GREY).all() or (cells[4][:, 100:] == GREY + 1).all()
    share = 3 * (40 / 3 / 255) / visualize.MAX_ERROR  # of the way from blue to green
    assert (np.abs(cells[4][:, :100] - np.array([0, 255 * share, 255 * (1 - share)])) <= 1).all()


def test_view_numbers_are_written_above_the_columns() -> None:
    target, rendering = scene(2)
    plain = visualize.gt_vs_pred_grid(target, rendering)
    top, _, _, right = boxes(plain, (0, 10, 0))
    for index in ([3, 5], [0, 5], [3, 4]):
        changed = (visualize.gt_vs_pred_grid(target, rendering, index) != plain).any(axis=-1)
        assert changed[:top, : right + 1].any() == (index[0] != 0)
        assert changed[:top, right + 1 :].any() and not changed[top:].any()


@pytest.mark.parametrize("order", [[2, 0, 1], [1, 0, 2], [2, 1, 0]])
def test_columns_ascend_by_view_number_in_whatever_order_the_views_come(order: list[int]) -> None:
    target, rendering = scene(3)
    own = torch.tensor([0.6, 0.8, 1.0])[:, None, None, None]
    rendering = Rendering(rendering.rgb, own * rendering.alpha, 2 * own * rendering.depth)
    names, given = ["left", "top", "right"], [True, False, True]
    labels = {"names": [names[i] for i in order], "is_input": [given[i] for i in order]}
    shuffled = (target.map(lambda x: x[order]), rendering.map(lambda x: x[order]))
    for draw, sorted_scene, shuffled_scene in (
        (visualize.gt_vs_pred_grid, (target, rendering), shuffled),
        (visualize.overview, (target, rendering), shuffled),
        (visualize.depth_alpha_grid, (rendering,), shuffled[1:]),
    ):
        ascending = draw(*sorted_scene, view_index=[0, 1, 2], names=names, is_input=given)
        np.testing.assert_array_equal(draw(*shuffled_scene, view_index=order, **labels), ascending)


def test_headings_tell_number_camera_kind_and_score() -> None:
    columns = visualize.view_columns([4, 7], ["Camera5", "Sphere2"], [True, False], scores=["20 dB", "9 dB"])
    assert [column.heading for column in columns] == ["4  Camera5\ninput\n20 dB", "7  Sphere2\nheld-out\n9 dB"]
    assert [column.band for column in columns] == [visualize.BANDS[True], visualize.BANDS[False]]
    assert [column.heading for column in visualize.view_columns([4])] == ["view 4"]


def test_a_band_of_its_kind_marks_every_column_as_wide_as_the_views() -> None:
    target, rendering = scene(3)
    picture = visualize.gt_vs_pred_grid(target, rendering, is_input=[True, False, True])
    cells = [boxes(picture, (0, 10 * i, 0)) for i in (1, 2, 3)]
    for cell, given in zip(cells, (True, False, True), strict=True):
        strip = picture[: cell[0], cell[2] : cell[3] + 1]
        assert (strip == visualize.BANDS[given]).all(axis=-1).all(axis=1).any()
        assert not (strip == visualize.BANDS[not given]).all(axis=-1).any()


def test_a_picture_without_kinds_has_no_bands() -> None:
    picture = visualize.gt_vs_pred_grid(*scene(2))
    assert not any((picture == band).all(axis=-1).any() for band in visualize.BANDS.values())


def test_depth_runs_from_dark_to_pale_and_is_grey_where_half_the_pixel_is_free() -> None:
    depth = torch.tensor([1.0, 2.0, 3.0, 2.0, 9.0]).reshape(1, 1, 1, 5)
    alpha = torch.tensor([1.0, 1.0, 0.5, 0.49, 1.0]).reshape(1, 1, 1, 5)
    colours = visualize.depth_map(depth, alpha, 1.0, 3.0)[0, :, 0].T
    expected = torch.tensor([DEPTH[0], DEPTH[2], DEPTH[4], (0.3, 0.3, 0.3), DEPTH[4]])
    torch.testing.assert_close(colours, expected)
    brightness = torch.tensor(DEPTH).sum(dim=1)
    assert (brightness.diff() > 0.3).all()


def test_depth_and_alpha_share_one_scale_over_all_views() -> None:
    _, rendering = scene(2, size=200)
    depth = torch.ones_like(rendering.depth)
    depth[1] = 3.0
    rendering = Rendering(rendering.rgb, rendering.alpha, depth)
    picture = visualize.depth_alpha_grid(rendering)
    left, right = (boxes(picture, (0, 0, 10 * i)) for i in (1, 2))
    pitch = 200 + visualize.GAP
    for (top, _, start, _), stop in ((left, DEPTH[0]), (right, DEPTH[-1])):
        cell = picture[top + 2 * pitch : top + 2 * pitch + 200, start : start + 200]
        assert (np.abs(cell[:, :100] - np.array(stop) * 255) <= 1).all()
        assert (np.abs(cell[:, 100:].astype(int) - GREY) <= 1).all()
        alpha = picture[top + pitch : top + pitch + 200, start : start + 200]
        assert (alpha[:, :100] == 255).all() and (alpha[:, 100:] == 0).all()


def test_nothing_rendered_still_draws_a_depth_map() -> None:
    _, rendering = scene(1)
    visualize.depth_alpha_grid(Rendering(rendering.rgb, 0 * rendering.alpha, 0 * rendering.depth))


@pytest.mark.parametrize(("total", "angles"), [(90, 6), (120, 8), (4, 4), (3, 3), (7, 7), (11, 8)])
def test_kept_frames_pass_every_frame_on_and_show_some_at_the_angles_they_were_taken(total: int, angles: int) -> None:
    frames = [np.full((16, 16, 3), number, np.uint8) for number in range(total)]
    kept = visualize.KeptFrames(iter(frames), total)
    passed = list(kept)
    assert all(np.array_equal(a, b) for a, b in zip(passed, frames, strict=True))
    sheet = kept.sheet()
    assert [int(frame[0, 0, 0]) for frame in kept.kept] == kept.chosen and len(kept.chosen) == angles
    assert all((sheet == number).all(axis=-1).any() for number in kept.chosen)
    if total % angles == 0:
        assert {b - a for a, b in zip(kept.chosen, [*kept.chosen[1:], total], strict=True)} == {total // angles}


def test_heat_runs_from_blue_over_green_and_yellow_to_red_and_background_is_grey() -> None:
    error = torch.tensor([0.0, 0.1, 0.2, 0.3, 0.9, 0.9])
    mask = torch.tensor([1.0, 1.0, 1.0, 1.0, 1.0, 0.0]).reshape(1, 1, 1, 6)
    rendering = error.expand(1, 3, 1, 6)
    heat = visualize.error_heat_map(rendering, torch.zeros(1, 3, 1, 6), mask)[0, :, 0].T
    expected = torch.tensor([[0, 0, 1.0], [0, 1, 0], [1, 1, 0], [1, 0, 0], [1, 0, 0], [0.3, 0.3, 0.3]])
    torch.testing.assert_close(heat, expected, atol=1e-5, rtol=0)
    symmetric = visualize.error_heat_map(torch.zeros(1, 3, 1, 6), rendering, mask)[0, :, 0].T
    torch.testing.assert_close(symmetric, heat)


@pytest.mark.parametrize(
    ("inputs", "shown"), [(6, [0, 2, 4, 6, 8, 10]), (1, [0, 1, 3, 5, 7, 9]), (12, [0, 2, 4, 6, 8, 10])]
)
def test_overview_shows_at_most_six_views_of_both_kinds(inputs: int, shown: list[int]) -> None:
    target, rendering = scene(12)
    is_input = [i < inputs for i in range(12)]
    picture = visualize.overview(target, rendering, [f"cam_{i:03d}" for i in range(12)], is_input)
    present = [i for i in range(12) if (picture == (0, 10 * (i + 1), 0)).all(axis=-1).any()]
    assert present == shown
    columns = [boxes(picture, (0, 10 * (i + 1), 0))[2:] for i in shown]
    assert columns == [boxes(picture, (0, 0, 10 * (i + 1)))[2:] for i in shown]
    assert columns == sorted(columns)


def test_a_view_without_the_animal_is_drawn_without_a_score() -> None:
    target, rendering = scene(2)
    target.masks[1] = 0
    picture = visualize.overview(target, rendering, ["a", "b"], [True, False])
    assert (picture == (0, 20, 0)).all(axis=-1).any()


def test_large_views_are_reduced_and_keep_their_shape() -> None:
    target, rendering = scene(1, size=1200)
    wide = [tensor[..., :600, :] for tensor in (target.images, target.masks, rendering.rgb, rendering.alpha)]
    picture = visualize.gt_vs_pred_grid(
        Views(wide[0], wide[1], target.cameras), Rendering(wide[2], wide[3], wide[3]), [0]
    )
    top, bottom, left, right = boxes(picture, (0, 10, 0))
    assert right - left + 1 == 512 and bottom - top + 1 >= 256


def test_mask_debug_picture_shows_image_mask_and_overlay_side_by_side() -> None:
    target, _ = scene(1, size=200)
    picture = visualize.mask_debug_picture(target.images[0], target.masks[0], "sample")
    top, bottom, left, _ = boxes(picture, (0, 10, 0))
    strip = picture[top : bottom + 1, left:].astype(int)
    pitch = 200 + visualize.GAP
    assert (strip[:, :200] == (0, 10, 0)).all()
    assert (strip[:, pitch : pitch + 100] == 255).all() and (strip[:, pitch + 100 : pitch + 200] == 0).all()
    overlay = strip[:, 2 * pitch : 2 * pitch + 200]
    assert (overlay[:, :100] != (0, 10, 0)).any(axis=-1).all() and (overlay[:, 101:] == (0, 10, 0)).all()
    assert visualize.mask_debug_picture(target.images[0], 0 * target.masks[0]).shape[0] == picture.shape[0]
