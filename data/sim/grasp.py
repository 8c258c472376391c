"""Attach-grasp: a closing gripper pins the nearest grasp points to itself; an opening one lets them go.

Owns the pre-declared connect constraints (`{side}_slot_{k}`). The targets of those constraints live in the model, not
in the simulation state, so `clear` must run at every reset. Idealised on purpose: see docs/tasks.md.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from data.sim import arms
from data.sim.scene import SLOTS_PER_GRIPPER

CLOSED_BELOW = 0.5
"""Gripper command (0 closed .. 1 open) below which the gripper grasps."""


@dataclass(frozen=True, kw_only=True, slots=True)
class GraspPoints:
    """What can be held."""

    bodies: tuple[str, ...]
    """Body of each point."""
    anchors: NDArray[np.float64]
    """[N, 3] position of each point in its body's frame, m."""
    radius_m: float
    """A point farther from the tool centre than this is missed."""
    adjacent: NDArray[np.bool_]
    """[N, N] which points may be held together with the nearest one: fingers pick up one layer, not the stack. Points
    of one rigid body come together however far they are from the tool."""


class AttachGrasp:
    """The grasp state of both grippers over one simulation."""

    def __init__(self, model: Any, data: Any, points: GraspPoints) -> None:
        self._model, self._data, self._points = model, data, points
        self.bodies = np.array([model.body(name).id for name in points.bodies], dtype=np.int64)
        self._slots = [
            [model.equality(f"{side}_slot_{slot}").id for slot in range(SLOTS_PER_GRIPPER)] for side in arms.SIDES
        ]
        self._tools = [model.body(f"{side}_l6").id for side in arms.SIDES]
        self._sites = [model.site(f"{side}_tcp").id for side in arms.SIDES]
        self.held: list[tuple[int, ...]] = [(), ()]
        """Indices of the points that each gripper holds."""
        self.closed = [False, False]
        self.clear()

    def clear(self) -> None:
        """Lets everything go and restores the constraints to their declared, inactive state."""
        for side, slots in enumerate(self._slots):
            for slot in slots:
                self._release(slot)
            self.held[side] = ()
            self.closed[side] = False

    def tool(self, side: int) -> NDArray[np.float64]:
        """[3] position of the tool centre point, m."""
        return np.array(self._data.site_xpos[self._sites[side]])

    def positions(self) -> NDArray[np.float64]:
        """[N, 3] positions of the grasp points in the world, m."""
        origin = self._data.xpos[self.bodies]
        rotation = self._data.xmat[self.bodies].reshape(-1, 3, 3)
        anchor = self._points.anchors
        return np.array(
            origin
            + rotation[:, :, 0] * anchor[:, 0:1]
            + rotation[:, :, 1] * anchor[:, 1:2]
            + rotation[:, :, 2] * anchor[:, 2:3]
        )

    def command(self, side: int, grip: float) -> str | None:
        """Applies a gripper command (0..1) to arm `side`; returns "grasped", "missed", "released" or None."""
        closing = grip < CLOSED_BELOW
        if closing == self.closed[side]:
            return None
        self.closed[side] = closing
        if not closing:
            had = bool(self.held[side])
            for slot in self._slots[side]:
                self._release(slot)
            self.held[side] = ()
            return "released" if had else None
        points = self.positions()
        distance = np.sqrt(np.sum((points - self.tool(side)) ** 2, axis=1))
        order = [int(index) for index in np.argsort(distance, kind="stable")]
        near = [index for index in order if distance[index] <= self._points.radius_m]
        chosen = tuple([*near[:1], *self._beside(near, order)][:SLOTS_PER_GRIPPER])
        for slot, index in zip(self._slots[side], chosen, strict=False):
            self._attach(side, slot, index, points[index])
        self.held[side] = chosen
        return "grasped" if chosen else "missed"

    def _beside(self, near: list[int], order: list[int]) -> list[int]:
        if not near:
            return []
        body, linked = self.bodies[near[0]], self._points.adjacent[near[0]]
        return [
            index
            for index in order
            if index != near[0] and linked[index] and (index in near or self.bodies[index] == body)
        ]

    def _attach(self, side: int, slot: int, index: int, point: NDArray[np.float64]) -> None:
        tool = self._tools[side]
        offset = point - self._data.xpos[tool]
        rotation = self._data.xmat[tool].reshape(3, 3)
        self._model.eq_obj2id[slot] = self.bodies[index]
        for axis in range(3):
            self._model.eq_data[slot, axis] = sum(float(rotation[row, axis] * offset[row]) for row in range(3))
        # The compiler left the anchor of the declared body here: kept, it would drag the object across the table.
        self._model.eq_data[slot, 3:6] = self._points.anchors[index]
        self._data.eq_active[slot] = 1

    def _release(self, slot: int) -> None:
        self._data.eq_active[slot] = 0
        self._model.eq_obj2id[slot] = self.bodies[0]
        self._model.eq_data[slot, :6] = 0.0
