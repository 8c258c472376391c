"""Geometry of the two arms: where they stand, closed-form gripper-down inverse kinematics, forward check.

Owns numbers and formulas only; knows neither MuJoCo nor a task. Sums are explicit: a matrix product through BLAS may
round differently with another CPU kernel, and the physics amplifies the last bit.

Joints of an arm, all in radians: waist (about z), shoulder, elbow, wrist pitch (about x), wrist tilt (about z of the
wrist), wrist roll (about the tool). At zero the arm points to +y, level.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from recap.errors import ConfigError

SIDES = ("left", "right")
BASE_X_M = 0.24
BASE_Y_M = -0.40
SHOULDER_Z_M = 0.25
UPPER_M = 0.33
FOREARM_M = 0.33
TOOL_M = 0.15
REACH_M = 0.65
"""Distance from shoulder to wrist that a target is pulled in to."""
FINGER_TRAVEL_M = 0.025

JOINTS = ("waist", "shoulder", "elbow", "wrist_pitch", "wrist_tilt", "wrist_roll")
JOINT_RANGE_RAD = ((-2.4, 2.4), (-1.2, 2.2), (-2.9, 0.2), (-2.9, 2.0), (-1.6, 1.6), (-3.15, 3.15))


@dataclass(frozen=True, kw_only=True, slots=True)
class Pose:
    """A gripper-down pose of the tool centre point."""

    x: float
    """m"""
    y: float
    """m"""
    z: float
    """m above the table"""
    yaw: float = 0.0
    """rad about the vertical"""


def base_x(side: int) -> float:
    """Where the base of arm `side` (0 left, 1 right) stands along x, m."""
    return -BASE_X_M if side == 0 else BASE_X_M


def inverse(side: int, pose: Pose) -> tuple[float, float, float, float, float, float]:
    """Joint angles (rad) that put the tool of arm `side` at `pose`, pointing down, elbow up.

    A pose out of reach is pulled towards the shoulder until it is in reach: an operator's arm stops there too.

    Raises:
        ConfigError: a coordinate is not finite.

    Example:
        >>> tool = forward(0, inverse(0, Pose(x=-0.1, y=0.05, z=0.1)))
        >>> [round(v, 6) for v in (tool.x, tool.y, tool.z)]
        [-0.1, 0.05, 0.1]
    """
    if not all(math.isfinite(v) for v in (pose.x, pose.y, pose.z, pose.yaw)):
        raise ConfigError(f"arm target {pose} is not finite")
    dx, dy = pose.x - base_x(side), pose.y - BASE_Y_M
    waist = math.atan2(-dx, dy)
    radius = math.hypot(dx, dy)
    height = pose.z + TOOL_M - SHOULDER_Z_M
    distance = math.hypot(radius, height)
    if distance > REACH_M:
        radius, height, distance = radius * REACH_M / distance, height * REACH_M / distance, REACH_M
    cosine = (distance * distance - UPPER_M * UPPER_M - FOREARM_M * FOREARM_M) / (2.0 * UPPER_M * FOREARM_M)
    elbow = -math.acos(max(-1.0, min(1.0, cosine)))
    shoulder = math.atan2(height, radius) - math.atan2(
        FOREARM_M * math.sin(elbow), UPPER_M + FOREARM_M * math.cos(elbow)
    )
    pitch = -math.pi / 2.0 - shoulder - elbow
    roll = math.remainder(waist - pose.yaw, 2.0 * math.pi)
    return (waist, shoulder, elbow, pitch, 0.0, roll)


def forward(side: int, joints: tuple[float, ...]) -> Pose:
    """Tool pose for joint angles whose wrist tilt is zero and whose tool points down."""
    waist, shoulder, elbow, pitch, _, roll = joints
    lift, bend, tool = shoulder, shoulder + elbow, shoulder + elbow + pitch
    radius = UPPER_M * math.cos(lift) + FOREARM_M * math.cos(bend) + TOOL_M * math.cos(tool)
    height = SHOULDER_Z_M + UPPER_M * math.sin(lift) + FOREARM_M * math.sin(bend) + TOOL_M * math.sin(tool)
    return Pose(
        x=base_x(side) - radius * math.sin(waist),
        y=BASE_Y_M + radius * math.cos(waist),
        z=height,
        yaw=math.remainder(waist - roll, 2.0 * math.pi),
    )
