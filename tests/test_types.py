"""Laws of Gaussians under similarities, quaternions and structs."""

import numpy as np
import pytest
import torch
from helpers import FIXTURES, random_cameras, random_gaussians, random_rotation

from gslrm import harmonics as sh
from gslrm.similarity import Similarity
from gslrm.tensor_struct import concatenate, stack
from gslrm.types import matrix_from_quaternion, multiply_quaternions, quaternion_from_matrix


def test_quaternions_and_matrices_are_two_names_of_one_rotation():
    quaternion = torch.nn.functional.normalize(torch.randn(50, 4, dtype=torch.float64), dim=-1)
    matrix = matrix_from_quaternion(quaternion)
    torch.testing.assert_close(matrix_from_quaternion(quaternion_from_matrix(matrix)), matrix)
    half_turn = torch.diag(torch.tensor([-1.0, -1.0, 1.0], dtype=torch.float64))
    torch.testing.assert_close(matrix_from_quaternion(quaternion_from_matrix(half_turn)), half_turn)


def test_the_product_of_quaternions_is_the_product_of_matrices():
    left, right = torch.nn.functional.normalize(torch.randn(2, 20, 4, dtype=torch.float64), dim=-1)
    expected = matrix_from_quaternion(left) @ matrix_from_quaternion(right)
    torch.testing.assert_close(matrix_from_quaternion(multiply_quaternions(left, right)), expected)


def test_a_quarter_turn_about_z_takes_x_to_y():
    half = 0.5**0.5
    turned = matrix_from_quaternion(torch.tensor([half, 0.0, 0.0, half])) @ torch.tensor([1.0, 0.0, 0.0])
    torch.testing.assert_close(turned, torch.tensor([0.0, 1.0, 0.0]), atol=1e-6, rtol=0)


@pytest.mark.parametrize("degree", range(4))
def test_harmonics_agree_with_the_published_polynomials(degree):
    z = np.load(FIXTURES / "facelift/gaussians_cameras.npz")
    coefficients = torch.from_numpy(z["sh_coeffs"])[..., : (degree + 1) ** 2]
    value = torch.einsum("nck,nk->nc", coefficients, sh.basis(torch.from_numpy(z["sh_dirs"]), degree))
    np.testing.assert_allclose(value.numpy(), z[f"sh_eval{degree}"], atol=2e-6)


@pytest.mark.parametrize("degree", range(4))
def test_rotated_harmonics_show_the_old_colour_along_the_rotated_direction(degree):
    harmonics = torch.randn(9, (degree + 1) ** 2, 3, dtype=torch.float64)
    direction = torch.nn.functional.normalize(torch.randn(9, 3, dtype=torch.float64), dim=-1)
    rotation = random_rotation(5)
    rotated = sh.evaluate(sh.rotate(harmonics, rotation), direction @ rotation.mT)
    torch.testing.assert_close(rotated, sh.evaluate(harmonics, direction))


def test_rgb_and_degree_0_round_trip():
    rgb = torch.rand(10, 3)
    torch.testing.assert_close(sh.rgb_from_degree_0(sh.degree_0_from_rgb(rgb)), rgb)


def test_a_similarity_carries_covariances_along():
    gaussians = random_gaussians(20, degree=2)
    similarity = Similarity(torch.tensor(3.0, dtype=torch.float64), random_rotation(2), torch.randn(3).double())
    moved = gaussians.transform(similarity)

    def covariance(g):
        axes = matrix_from_quaternion(g.rotations) * g.scales[:, None, :]
        return axes @ axes.mT

    expected = 9 * similarity.rotation @ covariance(gaussians) @ similarity.rotation.mT
    torch.testing.assert_close(covariance(moved), expected)
    torch.testing.assert_close(moved.means, similarity.apply(gaussians.means))
    back = moved.transform(similarity.inverse())
    torch.testing.assert_close(back.means, gaussians.means)
    torch.testing.assert_close(back.harmonics, gaussians.harmonics)


def test_structs_map_index_and_stack():
    cameras = random_cameras(3)
    again = stack([cameras[index] for index in range(3)])
    torch.testing.assert_close(again.world_from_camera, cameras.world_from_camera)
    assert cameras.float().focal.dtype == torch.float32
    assert cameras.float().height == cameras.height
    torch.testing.assert_close(concatenate([cameras[:1], cameras[1:]]).center, cameras.center)
    with pytest.raises(ValueError, match="height"):
        stack([cameras[0], random_cameras(1, size=(8, 24))[0]])
