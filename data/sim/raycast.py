"""Draws the cameras of a scene without any graphics library: mj_multiRay for solids, a small z-buffer for cloth.

Follows the shading of the OpenGL path (ambient, a lamp at the camera, directional lights; no shadow, no gloss), so the
pictures are alike but not equal: `renderer` is recorded with every episode for that reason. Owns no physics.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recap.specs import CameraSpec
from recap.types import FrameArray

Array = NDArray[np.float64]
_FAR_M = 10.0


class RayRenderer:
    """Ray-cast images of one model; needs MuJoCo and numpy only."""

    def __init__(self, mujoco: Any, model: Any, data: Any, cameras: tuple[CameraSpec, ...]) -> None:
        self._mujoco, self._model, self._data = mujoco, model, data
        self._rays = {camera.name: self._camera_rays(camera) for camera in cameras}
        self._size = {camera.name: (camera.height, camera.width) for camera in cameras}
        colours = np.array(model.geom_rgba[:, :3], dtype=np.float64)
        textured = model.geom_matid >= 0
        colours[textured] = model.mat_rgba[model.geom_matid[textured], :3]
        self._colours = colours
        self._groups = np.array([1, 1, 1, 0, 0, 0], dtype=np.uint8)
        self._triangles = [
            np.array(
                model.flex_elem[
                    model.flex_elemdataadr[flex] : model.flex_elemdataadr[flex] + 3 * model.flex_elemnum[flex]
                ]
            ).reshape(-1, 3)
            + model.flex_vertadr[flex]
            for flex in range(model.nflex)
            if model.flex_dim[flex] == 2
        ]
        self._triangle_colours = [
            np.array(model.flex_rgba[flex, :3]) for flex in range(model.nflex) if model.flex_dim[flex] == 2
        ]

    def draw(self, camera: str) -> FrameArray:
        """[h, w, 3] uint8 RGB."""
        index = self._model.camera(camera).id
        height, width = self._size[camera]
        position = np.array(self._data.cam_xpos[index])
        axes = np.array(self._data.cam_xmat[index]).reshape(3, 3)
        local = self._rays[camera]
        rays = local[:, 0:1] * axes[:, 0] + local[:, 1:2] * axes[:, 1] + local[:, 2:3] * axes[:, 2]
        depth, colour, normal = self._solids(position, rays)
        depth, colour, normal = (array.reshape(height, width, -1) for array in (depth, colour, normal))
        for triangles, rgb in zip(self._triangles, self._triangle_colours, strict=True):
            self._cloth(triangles, rgb, position, axes, depth[..., 0], colour, normal, self._focal(index, height))
        light = self._light(normal.reshape(-1, 3), rays, axes)
        shaded = np.clip(colour.reshape(-1, 3) * light, 0.0, 1.0)
        return np.asarray(np.rint(shaded * 255.0), dtype=np.uint8).reshape(height, width, 3)

    def close(self) -> None:
        """Nothing to give back."""

    def _focal(self, camera: int, height: int) -> float:
        return height / 2.0 / math.tan(math.radians(float(self._model.cam_fovy[camera])) / 2.0)

    def _camera_rays(self, camera: CameraSpec) -> Array:
        """[h * w, 3] rays in the camera's frame, scaled to reach depth 1."""
        focal = self._focal(self._model.camera(camera.name).id, camera.height)
        x = (np.arange(camera.width) + 0.5 - camera.width / 2.0) / focal
        y = (camera.height / 2.0 - np.arange(camera.height) - 0.5) / focal
        grid_x, grid_y = np.meshgrid(x, y)
        return np.stack([grid_x, grid_y, np.full_like(grid_x, -1.0)], axis=-1).reshape(-1, 3)

    def _solids(self, position: Array, rays: Array) -> tuple[Array, Array, Array]:
        count = len(rays)
        geom = np.empty(count, dtype=np.int32)
        depth = np.empty(count, dtype=np.float64)
        normal = np.zeros(3 * count, dtype=np.float64)
        self._mujoco.mj_multiRay(
            self._model, self._data, position, rays.reshape(-1), self._groups, 1, -1, geom, depth, normal, count, _FAR_M
        )
        hit = geom >= 0
        colour = np.where(hit[:, None], self._colours[np.maximum(geom, 0)], 0.0)
        return np.where(hit, depth, np.inf), colour, normal.reshape(-1, 3)

    def _cloth(
        self,
        triangles: NDArray[np.int64],
        rgb: Array,
        position: Array,
        axes: Array,
        depth: Array,
        colour: Array,
        normal: Array,
        focal: float,
    ) -> None:
        """Draws one sheet into the depth, colour and normal images, in place."""
        points = np.array(self._data.flexvert_xpos)
        vertex_normals = _vertex_normals(points, triangles)
        offset = points - position
        local = np.stack([np.sum(offset * axes[:, axis], axis=1) for axis in range(3)], axis=1)
        away = -local[:, 2]
        height, width = depth.shape
        safe = np.maximum(away, 1e-6)
        u = width / 2.0 + focal * local[:, 0] / safe - 0.5
        v = height / 2.0 - focal * local[:, 1] / safe - 0.5
        near = self._model.vis.map.znear * self._model.stat.extent
        corners_u, corners_v, corners_d = u[triangles], v[triangles], away[triangles]
        low_u, high_u = np.ceil(corners_u.min(axis=1)), np.floor(corners_u.max(axis=1))
        low_v, high_v = np.ceil(corners_v.min(axis=1)), np.floor(corners_v.max(axis=1))
        area = (corners_u[:, 1] - corners_u[:, 0]) * (corners_v[:, 2] - corners_v[:, 0]) - (
            corners_u[:, 2] - corners_u[:, 0]
        ) * (corners_v[:, 1] - corners_v[:, 0])
        drawn = (
            (corners_d.min(axis=1) > near)
            & (np.abs(area) > 1e-9)
            & (high_u >= 0)
            & (low_u < width)
            & (high_v >= 0)
            & (low_v < height)
        )
        chosen = np.flatnonzero(drawn)
        left, right = (
            np.maximum(low_u[chosen], 0).astype(np.int64),
            np.minimum(high_u[chosen], width - 1).astype(np.int64),
        )
        top, bottom = (
            np.maximum(low_v[chosen], 0).astype(np.int64),
            np.minimum(high_v[chosen], height - 1).astype(np.int64),
        )
        columns, rows = np.maximum(right - left + 1, 0), np.maximum(bottom - top + 1, 0)
        counts = columns * rows
        # One entry per (triangle, pixel of its bounding box).
        slot = np.repeat(np.arange(len(chosen)), counts)
        within = np.arange(len(slot)) - np.repeat(np.cumsum(counts) - counts, counts)
        x, y = left[slot] + within % columns[slot], top[slot] + within // columns[slot]
        owner = chosen[slot]
        (ua, ub, uc), (va, vb, vc) = corners_u[owner].T, corners_v[owner].T
        weight_b = ((x - ua) * (vc - va) - (uc - ua) * (y - va)) / area[owner]
        weight_c = ((ub - ua) * (y - va) - (x - ua) * (vb - va)) / area[owner]
        weights = np.stack([1.0 - weight_b - weight_c, weight_b, weight_c], axis=1)
        inside = weights.min(axis=1) >= 0.0
        x, y, owner, weights = x[inside], y[inside], owner[inside], weights[inside]
        here = 1.0 / np.sum(weights / corners_d[owner], axis=1)
        covers = np.flatnonzero(here < depth[y, x])
        # Farthest first: the nearest is written last and stays.
        covers = covers[np.argsort(-here[covers], kind="stable")]
        pixels = (y[covers], x[covers])
        depth[pixels] = here[covers]
        colour[pixels] = rgb
        corner_normals = vertex_normals[triangles[owner[covers]]]
        normal[pixels] = np.sum(weights[covers][:, :, None] * corner_normals, axis=1)

    def _light(self, normal: Array, rays: Array, axes: Array) -> Array:
        """[N, 3] light that reaches each pixel's surface; surfaces are lit on the side that is seen."""
        length = np.sqrt(np.sum(normal * normal, axis=1, keepdims=True))
        unit = normal / np.maximum(length, 1e-12)
        unit = np.where(np.sum(unit * rays, axis=1, keepdims=True) > 0.0, -unit, unit)
        head = self._model.vis.headlight
        light = np.zeros_like(unit) + np.array(head.ambient)
        light += np.maximum(np.sum(unit * axes[:, 2], axis=1, keepdims=True), 0.0) * np.array(head.diffuse)
        for index in range(self._model.nlight):
            toward = -np.array(self._data.light_xdir[index])
            light += np.array(self._model.light_ambient[index])
            light += np.maximum(np.sum(unit * toward, axis=1, keepdims=True), 0.0) * np.array(
                self._model.light_diffuse[index]
            )
        return np.asarray(light)


def _vertex_normals(points: Array, triangles: NDArray[np.int64]) -> Array:
    """[N, 3] mean of the unit normals of the triangles at each vertex."""
    a, b, c = (points[triangles[:, corner]] for corner in range(3))
    face = np.cross(b - a, c - a)
    face /= np.maximum(np.sqrt(np.sum(face * face, axis=1, keepdims=True)), 1e-12)
    total = np.zeros_like(points)
    for corner in range(3):
        np.add.at(total, triangles[:, corner], face)
    return np.asarray(total)
