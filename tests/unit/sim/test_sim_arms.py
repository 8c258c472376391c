import math

import pytest

from data.sim import arms
from recap.errors import ConfigError


@pytest.mark.parametrize("side", [0, 1])
@pytest.mark.parametrize("target", [(0.0, 0.0, 0.01, 0.0), (-0.1, 0.1, 0.2, 0.4), (0.2, -0.2, 0.05, -1.0)])
def test_inverse_puts_the_tool_where_it_is_asked(side: int, target: tuple[float, float, float, float]) -> None:
    x, y, z, yaw = target
    tool = arms.forward(side, arms.inverse(side, arms.Pose(x=x, y=y, z=z, yaw=yaw)))
    assert math.dist((tool.x, tool.y, tool.z), (x, y, z)) < 1e-12
    assert math.remainder(tool.yaw - yaw, 2 * math.pi) == pytest.approx(0.0, abs=1e-12)


def test_out_of_reach_stops_at_the_reach_in_the_same_direction() -> None:
    tool = arms.forward(0, arms.inverse(0, arms.Pose(x=-0.24, y=2.0, z=0.1)))
    wrist_height = tool.z + arms.TOOL_M - arms.SHOULDER_Z_M
    assert math.hypot(tool.y - arms.BASE_Y_M, wrist_height) == pytest.approx(arms.REACH_M)
    assert tool.x == pytest.approx(-0.24)


def test_a_target_that_is_no_number_is_refused() -> None:
    with pytest.raises(ConfigError, match="not finite"):
        arms.inverse(0, arms.Pose(x=math.nan, y=0.0, z=0.1))


def test_the_model_moves_the_tool_where_forward_says(robot) -> None:  # type: ignore[no-untyped-def]
    import numpy as np

    robot.reset(0)
    poses = [arms.Pose(x=-0.1, y=0.0, z=0.15, yaw=0.3), arms.Pose(x=0.15, y=0.1, z=0.1)]
    action = np.array([v for s in (0, 1) for v in (*arms.inverse(s, poses[s]), 1.0)], dtype=np.float32)
    for _ in range(20):
        robot.step(action)
    for side, pose in enumerate(poses):
        assert robot.grasp.tool(side) == pytest.approx([pose.x, pose.y, pose.z], abs=3e-3)
    assert robot.observe(draw=False).state == pytest.approx(action, abs=0.02)
