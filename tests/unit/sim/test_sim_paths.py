import math

import pytest

from data.sim.arms import Pose
from data.sim.paths import STRAIGHT, Path


def where(pose: Pose) -> tuple[float, float, float]:
    return (pose.x, pose.y, pose.z)


def test_every_way_begins_and_ends_where_it_should() -> None:
    start, end = Pose(x=0.1, y=0.0, z=0.01, yaw=0.2), Pose(x=0.0, y=0.05, z=0.09, yaw=-0.4)
    for path in (STRAIGHT, Path(arch=0.4), Path(hinge=(0.01, 0.0, 0.0))):
        assert where(path.at(start, end, 0.0)) == pytest.approx(where(start))
        assert where(path.at(start, end, 1.0)) == pytest.approx(where(end))
        assert path.at(start, end, 0.5).yaw == pytest.approx(-0.1)


def test_a_way_about_a_hinge_keeps_its_distance_and_has_the_length_of_the_arc() -> None:
    hinge = (0.02, -0.1, 0.03)
    start, end = Pose(x=0.12, y=-0.1, z=0.03), Pose(x=0.02, y=-0.1, z=0.13)
    path = Path(hinge=hinge)
    for share in (0.1, 0.5, 0.8):
        assert math.dist(where(path.at(start, end, share)), hinge) == pytest.approx(0.1)
    middle = path.at(start, end, 0.5)
    assert middle.x - hinge[0] == pytest.approx(middle.z - hinge[2])
    assert path.length(start, end) == pytest.approx(0.1 * math.pi / 2)


def test_a_way_about_a_hinge_that_does_not_turn_is_straight() -> None:
    path = Path(hinge=(0.0, 0.0, 0.0))
    start, end = Pose(x=0.1, y=0.0, z=0.0), Pose(x=0.3, y=0.0, z=0.0)
    assert where(path.at(start, end, 0.25)) == pytest.approx((0.15, 0.0, 0.0))
    assert path.length(start, end) == pytest.approx(0.2)
