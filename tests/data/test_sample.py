"""Lists and camera files: what they may say, and what is refused by name."""

import shutil
from pathlib import Path

import pytest
import torch
from data_helpers import dataset_of, edit_cameras

from gslrm.data.lists import find_samples
from gslrm.data.sample import CAMERA_FILE, read_sample
from gslrm.data.sampler import SampleKey
from gslrm.errors import UserError


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
