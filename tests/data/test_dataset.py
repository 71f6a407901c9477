"""Which views are drawn, how they are placed, and batches that nothing but the seed decides."""

from pathlib import Path

import numpy as np
import pytest
import torch
from data_helpers import dataset_of
from helpers import ring, write_ball_sample

from gslrm.config import Config, MouseConfig
from gslrm.config_io import config_from_mapping
from gslrm.data import build_dataset, load_batches
from gslrm.data.dataset import RandomViewDataset, draw_background, overlapping
from gslrm.data.masks import MaskPolicy, read_view
from gslrm.data.mouse_dataset import MouseViewDataset, assert_camera_order
from gslrm.data.sample import read_sample
from gslrm.data.sampler import SampleKey, StreamSampler
from gslrm.errors import UserError


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

    @pytest.mark.parametrize("kind", [MouseViewDataset, RandomViewDataset])
    def test_a_view_that_is_input_and_target_is_the_same_picture_in_both(self, sample_dir, kind):
        for epoch in range(4):
            item = dataset_of(sample_dir, kind)[SampleKey(epoch, 0)]
            targets = item.target_index.tolist()
            for place, view in enumerate(item.input_index.tolist()):
                there = targets.index(view)
                given, wanted = item.input[place : place + 1], item.target[there : there + 1]
                assert torch.equal(given.images, wanted.images)
                assert torch.equal(given.masks, wanted.masks)
                assert torch.equal(given.cameras.world_from_camera, wanted.cameras.world_from_camera)

    def test_views_of_a_rig_lie_in_memory_once(self, sample_dir):
        dataset = dataset_of(sample_dir)
        item = dataset[SampleKey(0, 0)]
        batch = dataset.collate([item])
        assert batch.input.images.shape == (1, 4, *item.input.images.shape[1:])
        memory = {views.images.untyped_storage().data_ptr() for views in (batch.input, batch.target, item.target)}
        assert len(memory) == 1

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
