import math

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from data.sim import arms
from data.sim.cloth import align, distances, mean, paired_error, turn
from data.sim.seeds import derive, stream
from data.tasks.shirt_folding import shirt

metres = st.floats(-2.0, 2.0)
angles = st.floats(-3.0, 3.0)


@given(st.integers(0, 1), st.floats(-0.3, 0.3), st.floats(-0.2, 0.15), st.floats(0.0, 0.25), angles)
def test_inverse_then_forward_is_the_identity_or_the_reach(side: int, x: float, y: float, z: float, yaw: float) -> None:
    wanted = arms.Pose(x=x, y=y, z=z, yaw=yaw)
    tool = arms.forward(side, arms.inverse(side, wanted))
    reach = math.dist((x, y, z + arms.TOOL_M), (arms.base_x(side), arms.BASE_Y_M, arms.SHOULDER_Z_M))
    if reach <= arms.REACH_M:
        assert math.dist((tool.x, tool.y, tool.z), (x, y, z)) < 1e-9
    else:
        got = math.dist((tool.x, tool.y, tool.z + arms.TOOL_M), (arms.base_x(side), arms.BASE_Y_M, arms.SHOULDER_Z_M))
        assert abs(got - arms.REACH_M) < 1e-9


@given(metres, metres, angles)
def test_the_fold_error_ignores_where_the_shirt_lies(x: float, y: float, angle: float) -> None:
    shape = shirt()
    moved = turn(shape.ideal, angle) + np.array([x, y])
    assert paired_error(moved, shape.ideal) < 1e-9
    found, shift = align(shape.ideal, moved)
    assert abs(math.remainder(found - angle, 2 * math.pi)) < 1e-9
    assert np.allclose(turn(shape.ideal, found) + shift, moved)


@given(st.integers(0, 2**32 - 1), st.integers(1, 200))
def test_the_fast_mean_has_the_bits_of_numpys(seed: int, count: int) -> None:
    a, b = np.random.default_rng(seed).normal(size=(2, count, 2))
    off = distances(a, b)
    assert np.array_equal(off, np.sqrt(np.sum((a - b) ** 2, axis=1)))
    assert mean(off) == float(np.mean(off))


@given(angles)
def test_a_mirrored_shirt_is_not_folded(angle: float) -> None:
    shape = shirt()
    mirrored = turn(shape.mesh.points * np.array([1.0, -1.0]), angle)
    assert paired_error(mirrored, shape.ideal) > 0.05


@given(st.integers(0, 2**40), st.integers(0, 2**40))
def test_streams_of_two_counters_are_their_own(a: int, b: int) -> None:
    assert (derive("x", a) == derive("x", b)) == (a == b)
    assert derive("x", a) != derive("y", a)
    assert np.array_equal(stream("x", a, b).random(4), stream("x", a, b).random(4))
