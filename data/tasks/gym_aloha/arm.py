"""Where the tools of gym-aloha's arms are, and the joints that put one where it should be."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from data.sim.backend import load_mujoco

Vector = NDArray[np.float64]

REACH_M = 0.142
"""From the gripper's body to between its fingertips, along its x."""
FACING = {"left": 0.0, "right": math.pi}
"""Which way an arm looks, turn about the vertical, rad."""
FIRST = {"left": 0, "right": 8}
"""An arm's first joint in qpos and qvel."""
ROUNDS, DAMPING, LONGEST_RAD = 12, 0.016, 0.25


def tool_point(data: Any, model: Any, side: str) -> Vector:
    """[3] m, between the fingertips."""
    body = _gripper(model, side)
    return np.asarray(data.xpos[body] + REACH_M * data.xmat[body].reshape(3, 3)[:, 0])


def tool_turn(side: str, pitch: float, roll: float) -> Vector:
    """[3, 3] of a tool that looks away from its arm's base, then `pitch` rad down and `roll` rad about itself."""
    yaw = FACING[side]
    (cy, sy), (cp, sp), (cr, sr) = ((math.cos(a), math.sin(a)) for a in (yaw, pitch, roll))
    return np.array(
        [
            [cy * cp, cy * sp * sr - sy * cr, cy * sp * cr + sy * sr],
            [sy * cp, sy * sp * sr + cy * cr, sy * sp * cr - cy * sr],
            [-sp, cp * sr, cp * cr],
        ]
    )


def tool_angles(side: str, turn: Vector) -> tuple[float, float]:
    """(pitch, roll), rad, of a tool whose turn is [3, 3]; how far it looks aside is left out."""
    own = tool_turn(side, 0.0, 0.0).T @ turn
    pitch = math.atan2(-own[2, 0], own[0, 0])
    # From the second axis, which says it for a tool that looks straight down too.
    return pitch, math.atan2(math.sin(pitch) * own[0, 1] + math.cos(pitch) * own[2, 1], own[1, 1])


class ArmIk:
    """Inverse kinematics of one arm by damped least squares, on a copy of the world."""

    def __init__(self, model: Any, side: str) -> None:
        self._mujoco, self._model, self._side = load_mujoco(), model, side
        self._data = self._mujoco.MjData(model)
        self._joints = slice(FIRST[side], FIRST[side] + 6)
        self._low, self._high = model.jnt_range[self._joints].T
        self._body = _gripper(model, side)

    def solve(self, joints: Vector, point: Vector, turn: Vector) -> Vector:
        """[6] rad near `joints` that bring the tool to `point` [3] m and `turn` [3, 3], as near as the arm gets."""
        mujoco, model, data = self._mujoco, self._model, self._data
        joints, place, spin = np.array(joints), np.zeros((3, model.nv)), np.zeros((3, model.nv))
        for _ in range(ROUNDS):
            data.qpos[self._joints] = joints
            mujoco.mj_kinematics(model, data)
            mujoco.mj_comPos(model, data)
            tool, now = tool_point(data, model, self._side), data.xmat[self._body].reshape(3, 3)
            error = np.concatenate([point - tool, 0.5 * np.cross(now, turn, axis=0).sum(axis=1)])
            if np.abs(error[:3]).max() < 5e-4 and np.abs(error[3:]).max() < 5e-3:
                break
            mujoco.mj_jac(model, data, place, spin, tool, self._body)
            jacobian = np.concatenate([place[:, self._joints], spin[:, self._joints]])
            # A turn of a radian weighs as much as a way of 20 cm.
            jacobian[3:], error[3:] = 0.2 * jacobian[3:], 0.2 * error[3:]
            square = jacobian @ jacobian.T + DAMPING**2 * np.eye(6)
            step = jacobian.T @ np.linalg.solve(square, error)
            joints = np.clip(joints + np.clip(step, -LONGEST_RAD, LONGEST_RAD), self._low, self._high)
        return joints


def _gripper(model: Any, side: str) -> int:
    return int(load_mujoco().mj_name2id(model, load_mujoco().mjtObj.mjOBJ_BODY, f"vx300s_{side}/gripper_link"))
