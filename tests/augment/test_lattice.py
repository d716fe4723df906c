"""Distortions by a lattice: nodes are met, the middle stays, SciPy's splines along each axis; turns are rotations."""

import numpy as np
import pytest
from scipy.interpolate import CubicSpline

from tfmed.augment import lattice
from tfmed.ops import elastic

pytestmark = pytest.mark.current


def test_control_points_are_met_and_the_middle_stays():
    control = lattice.draw_control(np.random.default_rng(0), 4.0)
    assert control.shape == (3, 3, 3, 3) and not control[1, 1, 1].any()
    assert np.abs(control).max() <= 4 and (np.abs(control).reshape(27, 3)[np.arange(27) != 13] > 0).all()
    met = elastic.spread(control, [elastic.natural_spline_weights(np.array([0.0, 0.5, 1.0]), 3)] * 3)
    np.testing.assert_allclose(met, control, atol=1e-5)
    assert lattice.draw_control(np.random.default_rng(0), 4.0, fixed_centre=False)[1, 1, 1].all()


def test_the_middle_of_a_patch_of_an_odd_side_does_not_move():
    control = lattice.draw_control(np.random.default_rng(1), 4.0)
    np.testing.assert_allclose(lattice.displacement(control, (9, 7, 5))[4, 3, 2], 0, atol=1e-6)


def test_scipys_natural_splines_along_each_axis():
    """Nodes of a cube of 19.2 mm at -9.6, 0 and 9.6 mm; voxels of 0.4 mm have their centres at -9.4 to 9.4 mm."""
    control = lattice.draw_control(np.random.default_rng(2), 4.0)
    voxels, nodes = np.arange(48) * 0.4 - 9.4, (-9.6, 0.0, 9.6)
    wanted = control
    for axis in range(3):
        wanted = CubicSpline(nodes, wanted, axis=axis, bc_type="natural")(voxels)
    np.testing.assert_allclose(lattice.displacement(control, (48, 48, 48)), wanted, atol=1e-5)


def test_no_amplitude_no_displacement():
    assert not lattice.displacement(lattice.draw_control(np.random.default_rng(0), 0.0), (6, 5, 4)).any()


def test_turns_are_rotations_whose_angles_are_even():
    draw = np.random.default_rng(0)
    turns = [lattice.draw_turn(draw, 180.0) for _ in range(400)]
    for turn in turns[:20]:
        np.testing.assert_allclose(turn @ turn.T, np.eye(3), atol=1e-12)
        assert np.linalg.det(turn) == pytest.approx(1)
    angles = np.rad2deg(np.arccos([np.clip((np.trace(turn) - 1) / 2, -1, 1) for turn in turns]))
    assert np.histogram(angles, 4, (0, 180))[0].min() > 70 and angles.max() > 175
    axes = np.array([[t[2, 1] - t[1, 2], t[0, 2] - t[2, 0], t[1, 0] - t[0, 1]] for t in turns])
    assert (np.abs((axes > 0).mean(0) - 0.5) < 0.08).all()
    assert np.rad2deg(np.arccos((np.trace(lattice.draw_turn(draw, 10.0)) - 1) / 2)) <= 10


def test_bad_arguments():
    with pytest.raises(ValueError, match="most is 0 or more"):
        lattice.draw_control(np.random.default_rng(0), -1.0)
