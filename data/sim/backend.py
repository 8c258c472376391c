"""Which way images are made, and the one import of MuJoCo.

MuJoCo binds its GL library while it is being imported, and raises there when the library is missing. So the choice is
made first, in a child process, and every other module asks `load_mujoco()` for the package.
Owns the choice only; drawing is in `render` (GL) and `raycast` (no GL).
"""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
from functools import cache
from importlib.metadata import version
from typing import Any

from recap.errors import ConfigError

GL_BACKENDS = ("egl", "osmesa")
RENDERERS = ("auto", *GL_BACKENDS, "ray")
OLDEST_MUJOCO = (3, 5)
"""For the bench: older ones give rays no surface normals."""
_NEXT = {
    "egl": "apt-get install libegl1 libegl-mesa0 libgl1-mesa-dri, or choose the renderer 'ray', which needs no GL",
    "osmesa": "apt-get install libosmesa6, or choose the renderer 'ray', which needs no GL",
}
_PROBE = """
import mujoco
model = mujoco.MjModel.from_xml_string('<mujoco><worldbody><geom size="1"/></worldbody></mujoco>')
renderer = mujoco.Renderer(model, 8, 8)
data = mujoco.MjData(model)
mujoco.mj_forward(model, data)
renderer.update_scene(data)
print('drew', renderer.render().shape)
renderer.close()
"""


@cache
def works(backend: str) -> bool:
    """True if `backend` ("egl" or "osmesa") draws an image in a fresh child process. Asked once per process."""
    environment = {**os.environ, "MUJOCO_GL": backend, "PYOPENGL_PLATFORM": backend}
    try:
        child = subprocess.run(
            [sys.executable, "-c", _PROBE], env=environment, capture_output=True, text=True, timeout=60, check=False
        )
    except subprocess.TimeoutExpired:
        return False
    return child.returncode == 0 and "drew (8, 8, 3)" in child.stdout


@cache
def gl_backend() -> str | None:
    """The GL library of this process: what MUJOCO_GL asks for, else the first that works; None when none does."""
    asked = os.environ.get("MUJOCO_GL", "")
    if asked in GL_BACKENDS:
        return asked if works(asked) else None
    if "mujoco" in sys.modules:
        # Imported by someone else without a backend: too late to choose one.
        return None
    return next((backend for backend in GL_BACKENDS if works(backend)), None)


def require_gl(task: str) -> None:
    """Raises ConfigError if no GL library works here, for a task whose pictures need one."""
    if gl_backend() is None:
        raise ConfigError(
            f"task '{task}' draws with OpenGL, which does not work on this machine",
            hint="apt-get install libegl1 libegl-mesa0 libgl1-mesa-dri",
        )


def _require_version() -> None:
    """The bench needs a newer MuJoCo than some environments pin (.envs/NAME, docs/robots.md)."""
    found = version("mujoco")
    if tuple(int(part) for part in found.split(".")[:2]) < OLDEST_MUJOCO:
        raise ConfigError(
            f"the built-in tasks need MuJoCo {'.'.join(map(str, OLDEST_MUJOCO))} or newer, and this is {found}: "
            "an environment made for one gymnasium task",
            hint="run built-in tasks with .venv/bin/recap",
        )


@cache
def load_mujoco() -> Any:
    """The `mujoco` package, imported with the GL library that works here."""
    backend = gl_backend()
    if "mujoco" not in sys.modules:
        os.environ["MUJOCO_GL"] = backend or "disable"
        if backend:
            os.environ["PYOPENGL_PLATFORM"] = backend
    return importlib.import_module("mujoco")


def choose_renderer(asked: str) -> str:
    """The bench's renderer: `asked` itself, or for "auto" the best that works (egl, osmesa, then ray).

    Raises:
        ConfigError: no such renderer, or the one asked for by name does not work here (it is never replaced), or MuJoCo
            is too old for the bench.
    """
    _require_version()
    if asked not in RENDERERS:
        raise ConfigError(f"unknown renderer '{asked}': expected one of {', '.join(RENDERERS)}")
    if asked == "ray":
        return "ray"
    backend = gl_backend()
    if asked == "auto":
        return backend or "ray"
    if backend == asked:
        return asked
    if backend is not None and works(asked):
        raise ConfigError(
            f"renderer '{asked}' was asked for, but this process already draws with '{backend}'",
            hint=f"MUJOCO_GL={asked} recap run ...   (the same command)",
        )
    raise ConfigError(f"renderer '{asked}' does not work on this machine", hint=_NEXT[asked])
