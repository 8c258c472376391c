"""The simulated bimanual robot: steps the physics, reads the state, draws the cameras, keeps the truth.

Owns one MuJoCo model and its data. What lies on the table and when it counts as done is the business of a `Scenario`
(one per task). Drawing never touches the physics state.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from data.sim import arms
from data.sim.backend import choose_renderer, load_mujoco
from data.sim.detector import ERROR, NEUTRAL, Detector, Reading
from data.sim.grasp import AttachGrasp, GraspPoints
from data.sim.raycast import RayRenderer
from data.sim.render import GlRenderer, SceneRenderer
from data.sim.scene import CAMERAS, SceneParts, scene_xml
from data.sim.seeds import stream
from data.versions import versions
from recap.errors import ConfigError, RecapError
from recap.protocols import Capabilities, Sent
from recap.specs import CameraSpec, RobotSpec
from recap.types import FloatArray, Observation, PrivilegedTruth

ROBOT_ID = "sim_bimanual"
CHANNELS = tuple(f"{side}_{name}" for side in arms.SIDES for name in (*arms.JOINTS, "grip"))
GRIP_DIMS = (6, 13)
CAPABILITIES = Capabilities(simulated_time=True, expert=True, takeover=True, progress=True)
HOME = (arms.Pose(x=-0.26, y=-0.12, z=0.20), arms.Pose(x=0.26, y=-0.12, z=0.20))


class Scenario(Protocol):
    """The task's side of the bench."""

    @property
    def parts(self) -> SceneParts: ...

    @property
    def grasp_points(self) -> GraspPoints: ...

    def bind(self, bench: BimanualEnv) -> None:
        """Called once, when the model is compiled."""
        ...

    def place(self, rng: np.random.Generator) -> None:
        """Puts the objects at a start state drawn from `rng`."""
        ...

    def in_the_air(self, points: tuple[int, ...]) -> bool:
        """Letting go of these grasp points now would drop what they hold."""
        ...

    def advance(self) -> None:
        """Called in every control step, after the grippers acted: works what the solver does not know (latches)."""
        ...

    def read(self) -> Reading:
        """Reads the current state."""
        ...


def robot_spec(image_size: int) -> RobotSpec:
    """Channels, units and cameras of the bimanual robot at one image size (pixels, square)."""
    if not 16 <= image_size <= 1024:
        raise ConfigError(f"image_size must be within 16..1024 pixels, got {image_size}")
    return RobotSpec(
        id=ROBOT_ID,
        state_names=CHANNELS,
        action_names=CHANNELS,
        action_units=tuple("0..1" if index in GRIP_DIMS else "rad" for index in range(len(CHANNELS))),
        gripper_dims=GRIP_DIMS,
        cameras=tuple(CameraSpec(name=name, height=image_size, width=image_size) for name in CAMERAS),
    )


def drive(data: Any, command: NDArray[Any]) -> None:
    """Sets the motors of both arms in a simulation to a [14] command."""
    for side in (0, 1):
        part = command[side * 7 : side * 7 + 7]
        grip = min(max(float(part[6]), 0.0), 1.0) * arms.FINGER_TRAVEL_M
        data.ctrl[side * 8 : side * 8 + 6] = part[:6]
        data.ctrl[side * 8 + 6 : side * 8 + 8] = grip


class BimanualEnv:
    """A SimulatedEnv: two arms over a table with the objects of one scenario."""

    capabilities = CAPABILITIES

    def __init__(
        self,
        scenario: Scenario,
        *,
        prompt: str,
        max_steps: int,
        rate_hz: float,
        hold_steps: int = 5,
        renderer: str = "auto",
        image_size: int = 64,
    ) -> None:
        self.spec = robot_spec(image_size)
        self.prompt, self.rate_hz = prompt, rate_hz
        self.renderer = choose_renderer(renderer)
        self.mujoco = load_mujoco()
        self.model: Any = self.mujoco.MjModel.from_xml_string(scene_xml(scenario.parts))
        self.data: Any = self.mujoco.MjData(self.model)
        self.substeps = self._count_substeps(scenario.parts.timestep_s, rate_hz)
        self._joints = np.array(
            [self.model.joint(f"{side}_{name}").qposadr[0] for side in arms.SIDES for name in arms.JOINTS]
        )
        self._fingers = np.array(
            [self.model.joint(f"{side}_finger_{finger}").qposadr[0] for side in arms.SIDES for finger in ("a", "b")]
        )
        self._warnings = np.array(
            [
                int(getattr(self.mujoco.mjtWarning, name))
                for name in ("mjWARN_BADQPOS", "mjWARN_BADQVEL", "mjWARN_BADQACC")
            ]
        )
        self.grasp = AttachGrasp(self.model, self.data, scenario.grasp_points)
        self._scenario = scenario
        self.detector = Detector(max_steps=max_steps, hold_steps=hold_steps)
        scenario.bind(self)
        self._artist: SceneRenderer | None = (
            RayRenderer(self.mujoco, self.model, self.data, self.spec.cameras)
            if self.renderer == "ray"
            else GlRenderer(self.model, self.data, self.spec.cameras)
        )
        self._seeded = False

    @staticmethod
    def _count_substeps(timestep_s: float, rate_hz: float) -> int:
        count = round(1.0 / (rate_hz * timestep_s))
        if abs(count * rate_hz * timestep_s - 1.0) > 1e-9:
            raise ConfigError(
                f"a control period of {1.0 / rate_hz} s is not a multiple of the time step {timestep_s} s"
            )
        return count

    def reset(self, seed: int) -> None:
        """The start state of `seed`; nothing of earlier attempts remains."""
        self.mujoco.mj_resetData(self.model, self.data)
        self.grasp.clear()
        home = np.concatenate([arms.inverse(side, HOME[side]) for side in (0, 1)])
        self.data.qpos[self._joints] = home
        self.data.qpos[self._fingers] = arms.FINGER_TRAVEL_M
        self._scenario.place(stream("start", seed))
        self._command(np.concatenate([home[:6], [1.0], home[6:], [1.0]]))
        self._settle()
        self.detector.reset()
        self.detector.observe(self._scenario.read())
        self._seeded = True

    def observe(self, *, draw: bool = True) -> Observation:
        """[14] joint angles (rad) and gripper openings (0..1), left arm first; what the cameras see, if drawn."""
        self._require_start()
        if draw and self._artist is None:
            raise RecapError("the simulated robot was closed: it draws no more", hint="make a new one")
        joints = self.data.qpos[self._joints].reshape(2, 6)
        opening = self.data.qpos[self._fingers].reshape(2, 2).mean(axis=1, keepdims=True) / arms.FINGER_TRAVEL_M
        return Observation(
            state=np.asarray(np.concatenate([joints, opening], axis=1).reshape(-1), dtype=np.float32),
            frames={name: self._artist.draw(name) for name in self.spec.camera_names} if draw and self._artist else {},
            prompt=self.prompt,
        )

    def step(self, action: FloatArray) -> Sent:
        """Sends [14] absolute joint targets and lets one control period pass.

        Targets beyond a joint's range stop at the range, as the motor controllers' limits do.

        Raises:
            RecapError: wrong shape, not finite, or the attempt is over.
        """
        self._require_start()
        if self.finished:
            raise RecapError("this attempt is over: no further step", hint="call reset(seed) first")
        command = np.asarray(action, dtype=np.float64)
        if command.shape != (len(CHANNELS),):
            raise RecapError(f"action: expected shape ({len(CHANNELS)},), got {command.shape}")
        if not np.isfinite(command).all():
            bad = [CHANNELS[index] for index in np.flatnonzero(~np.isfinite(command))]
            raise RecapError(f"action: not finite in {', '.join(bad)} at step {self.detector.steps}")
        for side, name in enumerate(arms.SIDES):
            held_up = self._holds_in_the_air(side)
            change = self.grasp.command(side, float(command[GRIP_DIMS[side]]))
            if change == "missed":
                self.detector.note(f"missed_grasp_{name}", ERROR)
            elif change == "released" and held_up:
                self.detector.note(f"premature_release_{name}", ERROR)
            elif change is not None:
                self.detector.note(f"{change}_{name}", NEUTRAL)
        self._scenario.advance()
        self._command(command)
        before = self._warning_counts()
        self.mujoco.mj_step(self.model, self.data, nstep=self.substeps)
        if (self._warning_counts() != before).any() or not np.isfinite(self.data.qpos).all():
            self.detector.abort("unstable_physics")
        else:
            self._settle()
            self.detector.observe(self._scenario.read())
        return Sent(action=action, asked=action)

    @property
    def software(self) -> Mapping[str, str]:
        return versions("mujoco")

    @property
    def finished(self) -> bool:
        return self.detector.finished

    @property
    def steps(self) -> int:
        """Control steps taken since reset."""
        return self.detector.steps

    def truth(self) -> PrivilegedTruth:
        self._require_start()
        return self.detector.truth()

    def close(self) -> None:
        if self._artist is not None:
            self._artist.close()
            self._artist = None

    def _holds_in_the_air(self, side: int) -> bool:
        held = self.grasp.held[side]
        return bool(held) and self._scenario.in_the_air(held)

    def _command(self, command: np.ndarray[Any, np.dtype[np.float64]]) -> None:
        drive(self.data, command)

    def _settle(self) -> None:
        # mj_step ends with positions newer than the frames derived from them: bring those up to date, always, so that
        # grasping, judging and drawing see one state and drawing costs no physics.
        self.mujoco.mj_kinematics(self.model, self.data)
        self.mujoco.mj_comPos(self.model, self.data)
        self.mujoco.mj_camlight(self.model, self.data)
        self.mujoco.mj_flex(self.model, self.data)

    def _warning_counts(self) -> NDArray[np.int32]:
        return np.asarray(self.data.warning.number[self._warnings])  # indexing copies

    def _require_start(self) -> None:
        if not self._seeded:
            raise RecapError("the simulated robot has no start state yet", hint="call reset(seed) first")
