"""How a tool gets from one pose to another: straight, over an arch, or about a hinge. Pure geometry."""

from __future__ import annotations

import math
from dataclasses import dataclass

from data.sim import arms

Point = tuple[float, float, float]


@dataclass(frozen=True, kw_only=True, slots=True)
class Path:
    """The shape of a way; where it starts and ends is said later."""

    arch: float = 0.0
    """Height of a half-sine arch over the straight line, as a share of its length."""
    hinge: Point | None = None
    """Turns about this point instead (m), the distance from it changing evenly; `arch` then counts for nothing."""

    def length(self, start: arms.Pose, end: arms.Pose) -> float:
        """Length of the way, m: to second order for an arch."""
        if self.hinge is not None:
            near, far, angle = _about(self.hinge, start, end)
            return math.hypot(0.5 * (_norm(near) + _norm(far)) * angle, _norm(far) - _norm(near))
        return _straight(start, end) * (1.0 + (math.pi * self.arch) ** 2 / 4.0)

    def at(self, start: arms.Pose, end: arms.Pose, share: float) -> arms.Pose:
        """The pose after `share` (0..1) of the way."""
        yaw = start.yaw + math.remainder(end.yaw - start.yaw, 2.0 * math.pi) * share
        if self.hinge is not None:
            x, y, z = _turned(self.hinge, start, end, share)
            return arms.Pose(x=x, y=y, z=z, yaw=yaw)
        return arms.Pose(
            x=start.x + (end.x - start.x) * share,
            y=start.y + (end.y - start.y) * share,
            z=start.z + (end.z - start.z) * share + self.arch * _straight(start, end) * math.sin(math.pi * share),
            yaw=yaw,
        )


STRAIGHT = Path()


def _straight(start: arms.Pose, end: arms.Pose) -> float:
    return math.dist((start.x, start.y, start.z), (end.x, end.y, end.z))


def _norm(vector: Point) -> float:
    return math.hypot(*vector)


def _about(hinge: Point, start: arms.Pose, end: arms.Pose) -> tuple[Point, Point, float]:
    """Offsets of both poses from the hinge and the angle between them, rad."""
    near = (start.x - hinge[0], start.y - hinge[1], start.z - hinge[2])
    far = (end.x - hinge[0], end.y - hinge[1], end.z - hinge[2])
    scale = max(_norm(near) * _norm(far), 1e-12)
    cosine = (near[0] * far[0] + near[1] * far[1] + near[2] * far[2]) / scale
    return near, far, math.acos(max(-1.0, min(1.0, cosine)))


def _turned(hinge: Point, start: arms.Pose, end: arms.Pose, share: float) -> Point:
    """Spherical interpolation of the direction from the hinge, linear in the distance from it."""
    near, far, angle = _about(hinge, start, end)
    first, second = _norm(near), _norm(far)
    # Directions alike, or opposite (no plane to turn in): the straight line.
    if min(first, second) < 1e-6 or math.sin(angle) < 1e-6:
        weights = (1.0 - share, share)
    else:
        radius = first + (second - first) * share
        weights = (
            radius * math.sin((1.0 - share) * angle) / (math.sin(angle) * first),
            radius * math.sin(share * angle) / (math.sin(angle) * second),
        )
    x, y, z = (hinge[axis] + weights[0] * near[axis] + weights[1] * far[axis] for axis in range(3))
    return (x, y, z)
