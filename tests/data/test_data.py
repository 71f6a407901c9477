"""From files to batches: what is read, what is refused, and that geometry survives every step."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers import ball_coverage, ring, write_ball_sample

from gslrm.config import Config, DatasetConfig, MouseConfig
from gslrm.config_io import config_from_mapping
from gslrm.data import build_dataset, load_batches
from gslrm.data.dataset import RandomViewDataset, draw_background, overlapping
from gslrm.data.images import read_image, write_image
from gslrm.data.lists import find_samples
from gslrm.data.masks import MaskPolicy, premultiply, read_view
from gslrm.data.mouse_dataset import MouseViewDataset, assert_camera_order
from gslrm.data.normalize import place_object
from gslrm.data.placed_sample import place_sample
from gslrm.data.sample import CAMERA_FILE, read_sample
from gslrm.data.sampler import SampleKey, StreamSampler
from gslrm.errors import UserError

BALL = (70.0, 40.0, 20.0)
CROPS = MouseConfig(normalize_cameras=True, object_size=1.2, crop_footprint=1.5)


@pytest.fixture
def sample_dir(tmp_path) -> Path:
    return write_ball_sample(tmp_path / "sample_000", ring(8), center=BALL)


def dataset_of(path: Path, kind=MouseViewDataset, mouse: MouseConfig = CROPS, size: int = 32, **settings: object):
    defaults = {"dataset_path": str(path), "num_views": 8, "num_input_views": 4}
    return kind(DatasetConfig.model_validate(defaults | settings), mouse, image_size=size, seed=3)


def edit_cameras(directory: Path, change) -> None:
    file = directory / CAMERA_FILE
    content = json.loads(file.read_text())
    change(content)
    file.write_text(json.dumps(content))


class TestImages:
    @pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
    @pytest.mark.parametrize("channels", [3, 4])
    def test_writing_and_reading_returns_the_image_in_rgb(self, tmp_path, dtype, channels):
        rng = np.random.default_rng(0)
        image = rng.integers(0, np.iinfo(dtype).max, (5, 7, channels), dtype=dtype)
        write_image(tmp_path / "a.png", image)
        np.testing.assert_allclose(read_image(tmp_path / "a.png"), image / np.iinfo(dtype).max, atol=1e-6)

    @pytest.mark.parametrize("share", [0.05, 0.5, 0.99])
    def test_truncated_png_are_refused_by_name(self, tmp_path, share):
        rng = np.random.default_rng(0)
        write_image(tmp_path / "a.png", rng.integers(0, 255, (64, 64, 3), dtype=np.uint8))
        content = (tmp_path / "a.png").read_bytes()
        (tmp_path / "a.png").write_bytes(content[: int(len(content) * share)])
        with pytest.raises(UserError, match=r"a\.png: PNG is truncated"):
            read_image(tmp_path / "a.png")

    def test_missing_files_and_other_content_are_refused_by_name(self, tmp_path):
        with pytest.raises(UserError, match=r"b\.png: image is missing"):
            read_image(tmp_path / "b.png")
        (tmp_path / "b.png").write_text("not an image")
        with pytest.raises(UserError, match=r"b\.png: not a readable image"):
            read_image(tmp_path / "b.png")


class TestMasks:
    def test_colours_are_freed_exactly_from_a_plain_background(self):
        coverage = np.linspace(0, 1, 64, dtype=np.float32).reshape(8, 8).repeat(8, 0).repeat(8, 1)
        coverage[:32] = 0
        colour = np.array([0.2, 0.4, 0.6], np.float32)
        for level in (1.0, 0.5, 0.0):
            stored = coverage[..., None] * colour + (1 - coverage[..., None]) * level
            np.testing.assert_allclose(premultiply(stored, coverage)[..., :3], coverage[..., None] * colour, atol=1e-6)

    def test_on_clutter_only_the_covered_part_is_kept(self):
        image = np.random.default_rng(0).random((64, 64, 3), dtype=np.float32)
        coverage = np.zeros((64, 64), np.float32)
        coverage[20:40, 20:40] = 1
        freed = premultiply(image, coverage)
        np.testing.assert_array_equal(freed[20:40, 20:40, :3], image[20:40, 20:40])
        assert freed[coverage == 0].max() == 0

    @pytest.mark.parametrize("mode", ["rgba", "rgb", "masks"])
    @pytest.mark.parametrize("bits", [8, 16])
    def test_alpha_white_and_mask_files_give_the_same_view(self, tmp_path, mode, bits):
        cameras = ring(2)
        directory = write_ball_sample(tmp_path / "s", cameras, mode=mode, bits=bits)
        view = read_sample(directory).views[1]
        image = read_view(view, MaskPolicy(auto_generate=mode == "rgb"))
        inside = ball_coverage(cameras[1], torch.tensor(BALL, dtype=torch.float64), 30.0)
        np.testing.assert_array_equal(image[..., 3], inside)
        np.testing.assert_allclose(
            image[inside][:, :3], np.tile(np.array([90, 60, 40]) / 255, (inside.sum(), 1)), atol=3e-3
        )

    def test_without_any_mask_the_cure_is_named(self, tmp_path):
        directory = write_ball_sample(tmp_path / "s", ring(2), mode="rgb")
        with pytest.raises(UserError, match=r"cam_000.png: no mask.*mouse.auto_generate_mask"):
            read_view(read_sample(directory).views[0], MaskPolicy())


class TestNormalisation:
    def test_the_ball_is_found_centred_and_scaled(self, sample_dir):
        dataset = dataset_of(sample_dir, size=64)
        placed = place_sample(
            dataset.sample(0), (0, 1, 2, 3, 4), dataset=dataset.dataset, mouse=CROPS, size=64, background=torch.ones(3)
        )
        center = placed.placement.world_from_source.apply(torch.tensor([BALL], dtype=torch.float64))
        assert center.norm() < 0.02
        torch.testing.assert_close(float(placed.placement.world_from_source.scale), 1.2 / 60, rtol=0.05, atol=0)
        for mask in placed.input.masks[:, 0]:
            row, column = torch.nonzero(mask > 0.5, as_tuple=True)
            assert abs(row.double().mean() + 0.5 - 32) < 0.7
            assert abs(column.double().mean() + 0.5 - 32) < 0.7
            torch.testing.assert_close(float(column.max() - column.min() + 1), 64 * 1.2 / 1.5, rtol=0.06, atol=0)

    @pytest.mark.parametrize("unit", [1.0, 0.001, 37.0])
    def test_the_unit_and_place_of_the_world_do_not_matter(self, tmp_path, unit):
        base = ring(5)
        pose = base.world_from_camera.clone()
        pose[:, :3, 3] = pose[:, :3, 3] * unit
        from dataclasses import replace

        scaled = write_ball_sample(
            tmp_path / "s",
            replace(base, world_from_camera=pose),
            center=tuple(v * unit for v in BALL),
            radius=30 * unit,
        )
        plain = write_ball_sample(tmp_path / "p", base, center=BALL)
        a, b = (dataset_of(path, num_views=5)[SampleKey(0, 0)] for path in (scaled, plain))
        torch.testing.assert_close(
            a.input.cameras.world_from_camera, b.input.cameras.world_from_camera, atol=1e-4, rtol=0
        )
        torch.testing.assert_close(a.input.images, b.input.images, atol=1e-3, rtol=0)

    def test_crops_see_the_same_rays_as_the_stored_images(self, sample_dir):
        """The law behind everything: a ball projected by the crop's own camera covers the crop's own mask."""
        item = dataset_of(sample_dir, size=64, num_views=8, num_input_views=6)[SampleKey(0, 0)]
        placed = place_sample(
            read_sample(sample_dir),
            (0, 1, 2, 3, 4, 5),
            dataset=DatasetConfig(),
            mouse=CROPS,
            size=64,
            background=torch.ones(3),
        )
        similarity = placed.placement.world_from_source
        center = similarity.apply(torch.tensor([BALL], dtype=torch.float64))[0]
        for view in range(8):
            truth = ball_coverage(item.target.cameras.to(torch.float64)[view], center, 30 * float(similarity.scale))
            wrong = (truth != (item.target.masks[view, 0] > 0.5).numpy()).sum()
            assert wrong / truth.sum() < 0.06  # pixels on the outline, blurred by two resamplings

    def test_the_mean_distance_is_the_target_distance_and_geometry_one_similarity(self, sample_dir):
        mouse = MouseConfig(normalize_cameras=True, target_camera_distance=2.7)
        item = dataset_of(sample_dir, mouse=mouse, num_input_views=8)[SampleKey(0, 0)]
        distance = item.input.cameras.position.norm(dim=-1)
        torch.testing.assert_close(float(distance.mean()), 2.7, atol=1e-3, rtol=0)
        assert distance.max() - distance.min() > 0.2  # cameras keep their own distances
        stored = torch.stack([view.camera.position for view in read_sample(sample_dir).views])
        ratio = torch.pdist(item.input.cameras.position.double()) / torch.pdist(stored)
        torch.testing.assert_close(ratio, ratio[:1].expand_as(ratio), rtol=1e-5, atol=0)

    def test_z_up_is_found_from_cameras_that_hang_in_a_tilted_world(self, tmp_path):
        from helpers import random_rotation

        from gslrm.similarity import Similarity

        tilt = Similarity(torch.ones((), dtype=torch.float64), random_rotation(4), torch.zeros(3, dtype=torch.float64))
        center = tilt.apply(torch.tensor([BALL], dtype=torch.float64))[0]
        cameras = ring(6).transform(tilt)
        masks = [ball_coverage(cameras[index], center, 30.0).astype(np.float32) for index in range(6)]
        mouse = CROPS.model_copy(update={"normalize_to_z_up": True})
        placement = place_object(masks, [cameras[index] for index in range(6)], size=32, mouse=mouse)
        up = placement.world_from_source.rotation @ tilt.rotation[:, 2]
        torch.testing.assert_close(up, torch.tensor([0.0, 0, 1], dtype=torch.float64), atol=2e-2, rtol=0)

    def test_one_wrong_mask_does_not_move_the_centre_far(self):
        cameras = ring(6)
        masks = [
            ball_coverage(cameras[i], torch.tensor(BALL, dtype=torch.float64), 30.0).astype(np.float32)
            for i in range(6)
        ]
        masks[2] = np.zeros_like(masks[2])
        masks[2][2:6, 2:6] = 1
        placement = place_object(masks, [cameras[index] for index in range(6)], size=32, mouse=CROPS)
        assert (placement.center - torch.tensor(BALL)).norm() < 6  # of a ball of 30

    def test_masks_in_fewer_than_two_views_are_refused(self):
        cameras = ring(3)
        masks = [np.zeros((64, 64), np.float32)] * 3
        with pytest.raises(UserError, match="at least two input views"):
            place_object(masks, [cameras[index] for index in range(3)], size=32, mouse=CROPS)

    def test_inverted_camera_matrices_are_noticed(self):
        cameras = ring(4)
        masks = [
            ball_coverage(cameras[i], torch.tensor(BALL, dtype=torch.float64), 30.0).astype(np.float32)
            for i in range(4)
        ]
        from dataclasses import replace

        from gslrm.cameras import invert_rigid

        wrong = replace(cameras, world_from_camera=invert_rigid(cameras.world_from_camera))
        with pytest.raises(UserError, match="not show one object|not in front of camera"):
            place_object(masks, [wrong[index] for index in range(4)], size=32, mouse=CROPS)

    def test_premultiplied_resampling_leaves_no_halo(self, sample_dir):
        """Every crop colour is the ball's, the background's, or between them by exactly its coverage."""
        item = dataset_of(sample_dir, background_color="black")[SampleKey(0, 0)]
        ball = torch.tensor([90, 60, 40])[:, None, None] / 255
        torch.testing.assert_close(item.target.images, item.target.masks * ball, atol=4e-3, rtol=0)


class TestDatasets:
    def test_the_mouse_dataset_keeps_camera_file_order(self, sample_dir):
        dataset = dataset_of(sample_dir)
        for epoch in range(3):
            item = dataset[SampleKey(epoch, 0)]
            assert item.input_index.tolist() == [0, 1, 2, 3]
            assert item.target_index.tolist() == list(range(8))
        batch = dataset.collate([dataset[SampleKey(0, 0)], dataset[SampleKey(1, 0)]])
        assert batch.input_index.tolist() == [[0, 1, 2, 3]] * 2
        from dataclasses import replace

        with pytest.raises(AssertionError, match="not in camera-file order"):
            assert_camera_order(replace(batch, input_index=batch.input_index.flip(-1)))

    def test_random_views_follow_from_seed_epoch_and_sample_alone(self, sample_dir):
        first, second = dataset_of(sample_dir, RandomViewDataset), dataset_of(sample_dir, RandomViewDataset)
        drawn = [tuple(first[SampleKey(epoch, 0)].input_index.tolist()) for epoch in range(8)]
        assert drawn == [tuple(second[SampleKey(epoch, 0)].input_index.tolist()) for epoch in range(8)]
        assert len(set(drawn)) > 3

    def test_targets_without_inputs_are_the_other_views(self, sample_dir):
        item = dataset_of(sample_dir, RandomViewDataset, target_has_input=False, num_views=7)[SampleKey(0, 0)]
        assert not set(item.input_index.tolist()) & set(item.target_index.tolist())
        assert len(item.target_index) == 3

    def test_the_number_of_targets_can_be_limited(self, sample_dir):
        drawn = {
            tuple(dataset_of(sample_dir, num_target_views=2)[SampleKey(e, 0)].target_index.tolist()) for e in range(9)
        }
        assert all(len(views) == 2 for views in drawn)
        assert len(drawn) > 3

    def test_overlap_is_an_angle_whatever_the_scale_of_the_world(self, tmp_path):
        from dataclasses import replace

        base = ring(6)
        for number, unit in enumerate((1.0, 0.001)):
            pose = base.world_from_camera.clone()
            pose[:, :3, 3] *= unit
            directory = write_ball_sample(
                tmp_path / str(number), replace(base, world_from_camera=pose), radius=30 * unit
            )
            near = overlapping(read_sample(directory), np.array([0]), np.arange(6))
            assert near[0]
            assert not near[2:5].any()  # 120, 180 and 120 degrees away

    def test_a_view_overlaps_when_it_is_near_any_input(self, tmp_path):
        directory = write_ball_sample(tmp_path / "s", ring(8))
        near = overlapping(read_sample(directory), np.array([0, 4]), np.arange(8))
        assert near.tolist() == [True, True, False, True, True, True, False, True]  # 2 and 6 are 90 degrees from both

    def test_too_few_overlapping_views_is_an_error_not_a_loop(self, sample_dir):
        dataset = dataset_of(sample_dir, RandomViewDataset, num_input_views=1, maximize_view_overlap=True)
        with pytest.raises(UserError, match="within 60 degrees"):
            dataset[SampleKey(0, 0)]

    def test_too_few_views_is_an_error_that_names_the_file(self, sample_dir):
        for kind in (RandomViewDataset, MouseViewDataset):
            with pytest.raises(UserError, match=r"opencv_cameras.json: has 8 views, .*num_views asks for 9"):
                dataset_of(sample_dir, kind, num_views=9)[SampleKey(0, 0)]

    def test_whole_images_are_the_stored_images(self, sample_dir):
        item = dataset_of(sample_dir, mouse=MouseConfig(), size=64)[SampleKey(0, 0)]
        view = read_sample(sample_dir).views[2]
        stored = torch.from_numpy(read_view(view, MaskPolicy())).permute(2, 0, 1)
        torch.testing.assert_close(item.input.images[2], stored[:3] + 1 - stored[3:])
        torch.testing.assert_close(item.input.cameras.focal[2], view.camera.focal.float())

    def test_a_mean_distance_scales_the_world_about_its_origin(self, sample_dir):
        item = dataset_of(sample_dir, mouse=MouseConfig(), normalize_distance_to=2.0)[SampleKey(0, 0)]
        torch.testing.assert_close(float(item.target.cameras.position.norm(dim=-1).mean()), 2.0, atol=1e-4, rtol=0)

    def test_images_that_are_not_square_need_crops(self, tmp_path):
        from dataclasses import replace

        directory = write_ball_sample(tmp_path / "s", replace(ring(4), width=80))
        with pytest.raises(UserError, match="not square; set mouse.normalize_cameras: true"):
            dataset_of(directory, mouse=MouseConfig(), num_views=4)[SampleKey(0, 0)]
        assert dataset_of(directory, num_views=4)[SampleKey(0, 0)].input.images.shape[-2:] == (32, 32)

    @pytest.mark.parametrize(("colour", "level"), [("white", 1.0), ("gray", 0.5), ("black", 0.0), (0.3, 0.3)])
    def test_backgrounds_have_their_colour(self, colour, level):
        torch.testing.assert_close(draw_background(colour, np.random.default_rng(0)), torch.full((3,), level))

    def test_varying_backgrounds_vary(self):
        rng = np.random.default_rng(0)
        assert len({tuple(draw_background("random", rng).tolist()) for _ in range(5)}) == 5
        assert {draw_background("three_choices", rng)[0].item() for _ in range(40)} == {0.0, 0.5, 1.0}


class TestLoader:
    def config(self, path: Path, workers: int, batch: int = 2) -> Config:
        return config_from_mapping(
            {
                "model": {"image_tokenizer": {"image_size": 16}},
                "training": {
                    "dataset": {"dataset_path": str(path), "num_views": 6, "num_input_views": 3},
                    "dataloader": {"num_workers": workers, "batch_size_per_gpu": batch},
                },
            },
            source="test",
        )

    def test_workers_change_nothing_and_a_run_can_start_anywhere(self, tmp_path):
        for number in range(3):
            write_ball_sample(tmp_path / f"sample_{number:03d}", ring(6), radius=20.0 + number)
        streams = []
        for workers, start in ((0, 0), (2, 0), (0, 3)):
            config = self.config(tmp_path, workers)
            batches = load_batches(build_dataset(config), config, start=start, stop=6)
            streams.append([(batch.names, batch.input_index.tolist()) for batch in batches])
        assert streams[0] == streams[1]
        assert streams[0][3:] == streams[2]
        assert {name for names, _ in streams[0][:2] for name in names} == {f"sample_{n:03d}" for n in range(3)}

    def test_every_epoch_is_another_permutation_of_all_samples(self):
        keys = [key for batch in StreamSampler(6, batch_size=4, seed=1, start=0, stop=6) for key in batch]
        epochs = [[key.position for key in keys if key.epoch == epoch] for epoch in range(4)]
        assert all(sorted(epoch) == list(range(6)) for epoch in epochs)
        assert len({tuple(epoch) for epoch in epochs}) > 1

    def test_a_list_shorter_than_a_batch_is_repeated(self, sample_dir):
        config = self.config(sample_dir, 0, batch=3)
        (batch,) = load_batches(build_dataset(config), config, start=0, stop=1)
        assert batch.names == ("sample_000",) * 3

    @pytest.mark.parametrize("workers", [0, 1])
    def test_a_broken_sample_stops_the_run_by_name(self, sample_dir, workers):
        (sample_dir / "images/cam_003.png").write_bytes(b"\x89PNG\r\n\x1a\n")
        config = self.config(sample_dir, workers, batch=1)
        batches = load_batches(build_dataset(config), config, start=0, stop=8)
        with pytest.raises(UserError, match=r"sample_000.*cam_003\.png: PNG is truncated") as refusal:
            list(batches)
        assert "Traceback" not in str(refusal.value)


class TestListsAndCameraFiles:
    def test_a_list_a_sample_its_json_and_a_directory_all_work(self, sample_dir, tmp_path):
        lines = tmp_path / "list.txt"
        lines.write_text(f"sample_000\n\n{sample_dir / CAMERA_FILE}\n{sample_dir}\n")
        assert [path.name for path in find_samples(lines)] == ["sample_000"] * 3
        for path in (sample_dir, sample_dir / CAMERA_FILE, tmp_path):
            assert [found.name for found in find_samples(path)] == ["sample_000"]

    def test_lines_may_be_relative_to_the_working_directory(self, sample_dir, tmp_path, monkeypatch):
        (tmp_path / "lists").mkdir()
        (tmp_path / "lists/list.txt").write_text("sample_000\n")
        monkeypatch.chdir(tmp_path)
        assert find_samples(Path("lists/list.txt"))[0].resolve() == sample_dir.resolve()

    @pytest.mark.parametrize(
        ("text", "message"),
        [
            ("", "list.txt: the list is empty"),
            ("\n\n", "list.txt: the list is empty"),
            ("/mnt/elsewhere/sample_000", "list.txt, line 1: .*absolute and not of this machine"),
            ("sample_007", "list.txt, line 1: no sample at 'sample_007'"),
        ],
    )
    def test_lists_that_name_nothing_are_refused(self, sample_dir, tmp_path, text, message):
        (tmp_path / "list.txt").write_text(text)
        with pytest.raises(UserError, match=message):
            find_samples(tmp_path / "list.txt")

    def test_a_directory_without_samples_is_refused(self, tmp_path):
        with pytest.raises(UserError, match="neither it nor its sub-directories"):
            find_samples(tmp_path)
        with pytest.raises(UserError, match="no such sample"):
            find_samples(tmp_path / "nothing")

    def test_missing_images_are_named_at_the_door(self, sample_dir):
        (sample_dir / "images/cam_001.png").unlink()
        with pytest.raises(UserError, match=r"cam_001\.png: image is missing .1 in all.; restore it"):
            dataset_of(sample_dir)  # at the door, not when the sample is first drawn

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            (lambda c: c["frames"][2].update(fx=0), "frame 2 .*focal length must be positive"),
            (lambda c: c["frames"][2]["w2c"][0].__setitem__(0, 3.0), "frame 2 .*not a rotation"),
            (lambda c: c["frames"][2].update(cx=float("nan")), "frame 2 .*NaN"),
            (lambda c: c["frames"][2].pop("file_path"), "frame 2: lacks file_path"),
            (lambda c: c["frames"][2].update(w2c=[[1, 2], [3, 4]]), "frame 2"),
            (lambda c: c["frames"].clear(), "non-empty list 'frames'"),
        ],
    )
    def test_impossible_camera_files_are_refused_with_frame_and_reason(self, sample_dir, change, message):
        edit_cameras(sample_dir, change)
        with pytest.raises(UserError, match=f"opencv_cameras.json: .*{message}"):
            read_sample(sample_dir)

    def test_broken_json_is_named(self, sample_dir):
        (sample_dir / CAMERA_FILE).write_text("{")
        with pytest.raises(UserError, match=r"opencv_cameras.json: not valid JSON"):
            read_sample(sample_dir)

    def test_intrinsics_of_another_size_are_refused(self, sample_dir):
        edit_cameras(sample_dir, lambda c: c["frames"][1].update(w=512, h=512))
        with pytest.raises(UserError, match=r"cam_001.png: is 64x64 but its camera says 512x512"):
            dataset_of(sample_dir)[SampleKey(0, 0)]

    def test_copied_samples_give_the_same_batch(self, sample_dir, tmp_path):
        shutil.copytree(sample_dir, tmp_path / "elsewhere/sample_000")
        a, b = dataset_of(sample_dir)[SampleKey(0, 0)], dataset_of(tmp_path / "elsewhere")[SampleKey(0, 0)]
        torch.testing.assert_close(a.target.images, b.target.images, rtol=0, atol=0)
