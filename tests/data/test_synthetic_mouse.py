import numpy as np
import pytest
from scipy.spatial import cKDTree

from gslrm.data.synthetic_body import build_mouse
from gslrm.data.synthetic_coat import COATS, albedo, sample_coat
from gslrm.data.synthetic_mouse import MouseOptions, sample_mouse
from gslrm.data.synthetic_pose import LIMITS, PITCH, RATES, REARING, sample_pose, with_rearing
from gslrm.data.synthetic_shape import sample_shape
from gslrm.data.synthetic_skeleton import FOOT, FOREARM, HAND, SHIN, THIGH, UPPER_ARM, build_skeleton

SEEDS = range(10)
MANY = 600


def rng(*seed: int) -> np.random.Generator:
    return np.random.default_rng(seed)


def degrees_apart(pose) -> float:
    return float(np.rad2deg(pose.yaw[-1] - pose.yaw[0]))


class TestMesh:
    def test_the_same_seed_gives_the_same_mouse_and_another_seed_another(self):
        first, again, other = sample_mouse(rng(1)), sample_mouse(rng(1)), sample_mouse(rng(2))
        for name in ("vertices", "faces", "colours", "grain_at", "grain"):
            assert getattr(first, name).tobytes() == getattr(again, name).tobytes()
        assert first.vertices.shape != other.vertices.shape or not np.allclose(first.vertices, other.vertices)

    @pytest.mark.parametrize("seed", SEEDS)
    def test_a_mouse_is_a_finite_mesh_of_mouse_size_that_stands_on_the_floor(self, seed):
        mesh = sample_mouse(rng(seed))
        for name in ("vertices", "colours", "grain_at", "grain"):
            assert np.isfinite(getattr(mesh, name)).all()
        assert mesh.faces.min() == 0 and mesh.faces.max() == len(mesh.vertices) - 1
        low, high = mesh.vertices.min(axis=0), mesh.vertices.max(axis=0)
        assert 0 < low[2] < 3
        assert 60 < np.linalg.norm(high - low) < 260 and high[2] < 140
        assert mesh.colours.min() > 0 and mesh.colours.max() < 1

    @pytest.mark.parametrize("seed", SEEDS)
    def test_every_part_is_closed_and_faces_outwards(self, seed):
        skin = build_mouse(sample_shape(rng(seed)), sample_pose(rng(seed, 1)))
        a, b, c = (skin.vertices[skin.faces[:, corner]] for corner in range(3))
        volume = float(np.einsum("fi,fi->f", a, np.cross(b, c)).sum() / 6)
        assert 4_000 < volume < 60_000  # mm^3; holes or inverted parts would not balance
        assert np.linalg.norm(np.cross(b - a, c - a).sum(axis=0)) < 1e-2 * np.abs(np.cross(b - a, c - a)).sum()
        np.testing.assert_allclose(np.linalg.norm(skin.normals, axis=1), 1, atol=1e-6)

    def test_a_mesh_of_another_fineness_is_the_same_animal(self):
        shape, pose = sample_shape(rng(3)), sample_pose(rng(4))
        coarse, fine = build_mouse(shape, pose, spacing=1.6), build_mouse(shape, pose, spacing=0.8)
        assert len(fine.vertices) > 2 * len(coarse.vertices)
        np.testing.assert_allclose(coarse.vertices.min(axis=0), fine.vertices.min(axis=0), atol=0.6)
        np.testing.assert_allclose(coarse.vertices.max(axis=0), fine.vertices.max(axis=0), atol=0.6)

    def test_rest_positions_lay_the_animal_out_straight(self):
        """From the tail's tip at -tail over its root at 0 to the nose, whatever the posture."""
        shape = sample_shape(rng(5))
        for name in ("walk", "curl", "tall"):
            rest = build_mouse(shape, sample_pose(rng(7), {name: 1.0})).rest
            assert rest[:, 0].min() == pytest.approx(-shape.tail * shape.length, rel=0.02)
            assert rest[:, 0].max() == pytest.approx(shape.length, rel=0.08)
            trunk = (rest[:, 0] > 0.3 * shape.trunk) & (rest[:, 0] < 0.6 * shape.trunk)
            assert np.abs(np.median(rest[trunk][:, 1])) < 8 and np.ptp(rest[trunk][:, 1]) > 0.2 * shape.length

    def test_a_coat_moves_with_the_skin(self):
        """Places of the body that are the same in two postures have the same colour, wherever the posture puts them."""
        shape, coat = sample_shape(rng(5)), sample_coat(rng(6), ("agouti",))
        first, second = (
            build_mouse(shape, sample_pose(rng(seed), {name: 1.0})) for seed, name in ((7, "walk"), (8, "tall"))
        )
        away, nearest = cKDTree(second.rest).query(first.rest)
        same = (away < 0.15) & (np.abs(first.pigment - second.pigment[nearest]).max(axis=1) < 0.02)
        assert same.sum() > 300
        moved = np.linalg.norm(first.vertices[same] - second.vertices[nearest[same]], axis=1)
        assert np.median(moved) > 10
        one, other = albedo(first, coat)[same], albedo(second, coat)[nearest[same]]
        shuffled = np.random.default_rng(0).permutation(other)
        assert np.abs(one - other).mean() < 0.25 * np.abs(one - shuffled).mean()


class TestPose:
    def test_joints_stay_within_their_limits(self):
        for seed in range(MANY):
            pose = sample_pose(rng(seed))
            values = {
                "pitch": pose.pitch, "head_pitch": pose.head_pitch, "head_yaw": pose.head_yaw,
                "head_roll": pose.head_roll, "roll": pose.roll, "heel": pose.heel,
            }  # fmt: skip
            for name, value in values.items():
                low, high = np.deg2rad(LIMITS[name])
                assert (np.asarray(value) >= low - 1e-9).all() and (np.asarray(value) <= high + 1e-9).all(), name
            assert abs(degrees_apart(pose)) < LIMITS["yaw_bend"][1] + 30  # the knots move a little by themselves

    def test_postures_appear_at_their_rates(self):
        drawn = [sample_pose(rng(seed, 1)).family for seed in range(MANY)]
        for name, rate in RATES.items():
            spread = np.sqrt(rate * (1 - rate) / MANY)
            assert abs(drawn.count(name) / MANY - rate) < 4 * spread, name

    @pytest.mark.parametrize("share", [0.0, 0.07, 0.5, 1.0])
    def test_rearing_has_the_share_that_is_asked_for(self, share):
        rates = with_rearing(share)
        assert sum(rates.values()) == pytest.approx(1)
        assert sum(rates[name] for name in REARING) == pytest.approx(share)
        drawn = [sample_pose(rng(seed, 2), rates).family in REARING for seed in range(300)]
        assert np.mean(drawn) == pytest.approx(share, abs=0.1)

    def test_rearing_mice_are_taller_than_walking_ones(self):
        height = {
            name: np.mean(
                [
                    build_skeleton(sample_shape(rng(seed)), sample_pose(rng(seed), {name: 1.0})).head.center[2]
                    for seed in range(12)
                ]
            )
            for name in PITCH
        }
        assert min(height["rear"], height["tall"]) > 1.5 * max(height["walk"], height["crouch"], height["curl"])


class TestSkeleton:
    @pytest.mark.parametrize("seed", range(40))
    def test_hind_feet_stand_on_the_floor_and_bones_keep_their_lengths(self, seed):
        shape, pose = sample_shape(rng(seed)), sample_pose(rng(seed, 1))
        for index, leg in enumerate(build_skeleton(shape, pose).legs):
            bones = (THIGH, SHIN) if leg.hind else (UPPER_ARM, FOREARM)
            lengths = np.linalg.norm([leg.knee - leg.root, leg.ankle - leg.knee], axis=1)
            assert lengths.sum() >= np.linalg.norm(leg.ankle - leg.root) - 1e-6
            assert lengths.sum() < 1.35 * sum(bones) * shape.limbs * shape.length
            foot = np.linalg.norm(leg.tip - leg.ankle)
            assert foot == pytest.approx((FOOT if leg.hind else HAND) * shape.feet * shape.length, rel=0.25)
            assert leg.tip[2] > 0.5 and leg.ankle[2] > 1.0
            if leg.hind:
                assert leg.tip[2] == pytest.approx(1.1 + pose.lift[index])

    def test_flesh_never_sinks_into_the_floor(self):
        for seed in range(25):
            skin = build_mouse(sample_shape(rng(seed)), sample_pose(rng(seed, 3)), spacing=1.6)
            assert skin.vertices[:, 2].min() > 0

    @pytest.mark.parametrize("seed", SEEDS)
    def test_the_tail_is_as_long_as_it_should_be_thin_and_bare(self, seed):
        shape = sample_shape(rng(seed))
        skin = build_mouse(shape, sample_pose(rng(seed, 1)))
        tail = (skin.rest[:, 0] < -0.1 * shape.length) & (skin.pigment[:, 0] > 0.9)
        at = -skin.rest[tail, 0]
        middles = np.array(
            [skin.vertices[tail][np.abs(at - x) < 1.5].mean(axis=0) for x in np.linspace(12, at.max(), 30)]
        )
        travelled = np.linalg.norm(np.diff(middles, axis=0), axis=1).sum() + 12
        assert travelled == pytest.approx(shape.tail * shape.length, rel=0.15)
        tip = skin.vertices[tail][at > 0.97 * at.max()]
        assert np.linalg.norm(tip - tip.mean(axis=0), axis=1).max() < 4


class TestCoats:
    def test_every_coat_appears(self):
        names = [sample_coat(rng(seed)).name for seed in range(MANY)]
        weights = np.array([COATS[name].weight for name in COATS])
        for name, share in zip(COATS, weights / weights.sum(), strict=True):
            assert abs(names.count(name) / MANY - share) < 4 * np.sqrt(share / MANY), name

    def test_only_the_coats_asked_for_appear(self):
        assert {sample_coat(rng(seed), ("cream", "silver")).name for seed in range(40)} == {"cream", "silver"}

    @pytest.mark.parametrize("name", COATS)
    def test_a_coat_looks_like_its_name(self, name):
        skin = build_mouse(sample_shape(rng(0)), sample_pose(rng(0)), spacing=1.8)
        haired = skin.pigment.max(axis=1) < 0.01
        fur = np.concatenate([albedo(skin, sample_coat(rng(seed), (name,)))[haired] for seed in range(8)])
        bright, (red, _, blue) = np.median(fur), np.median(fur, axis=0)
        pale = {"cream": 0.35, "albino": 0.5, "silver": 0.3}
        if name != "spotted":
            assert bright > pale[name] if name in pale else bright < 0.42
        if name in ("brown", "cream", "agouti"):
            assert red > 1.15 * blue
        if name == "spotted":
            assert np.percentile(fur, 95) > 4 * np.percentile(fur, 5)

    def test_albinos_have_red_eyes_and_others_dark_ones(self):
        assert sample_coat(rng(0), ("albino",)).eye[0] > 5 * sample_coat(rng(0), ("black",)).eye[0]

    def test_whiskers_are_drawn_only_when_asked_for(self):
        plain, haired = (sample_mouse(rng(9), MouseOptions(whiskers=flag)) for flag in (False, True))
        count = len(plain.vertices)
        np.testing.assert_array_equal(haired.vertices[:count], plain.vertices)
        assert len(haired.vertices) > count
