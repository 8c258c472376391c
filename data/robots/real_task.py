"""Tasks that only a real robot does: a prompt, a rate, channels and cameras. Nothing simulates them.

    TASKS.add("tidy_desk", RealTask(spec=TaskSpec(...), robot=RobotSpec(...)))

in one file of `data/tasks/`, or of a package with an entry point in `recap.tasks`. Its attempts are recorded with
`recap data record`, and `recap run --collect none` learns from them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NoReturn

from data.sim.flaws import FlawConfig
from recap.errors import ConfigError
from recap.protocols import SimulatedRobot
from recap.specs import RobotSpec, TaskSpec


@dataclass(frozen=True, kw_only=True)
class RealTask:
    """A `SimTask` (and `ForeignTask`) in name: everything that needs a simulated world is refused."""

    spec: TaskSpec
    robot: RobotSpec
    """Sizes of its cameras are those in which episodes are recorded and that policies are trained for."""
    packages: tuple[str, ...] = ()
    demonstrates: bool = False
    takes_over: bool = False

    def choose_renderer(self, asked: str) -> str:
        self._refuse("draw")

    def make_robot(self, renderer: str = "auto", image_size: int = 64) -> SimulatedRobot:
        self._refuse("move a robot")

    def make_expert(self, robot: SimulatedRobot, seed: int, flaws: FlawConfig) -> NoReturn:
        self._refuse("demonstrate")

    def make_takeover(self, robot: SimulatedRobot, seed: int) -> NoReturn:
        self._refuse("take over")

    def _refuse(self, what: str) -> NoReturn:
        name = self.spec.id
        raise ConfigError(
            f"task '{name}' has no simulator to {what} in: a person records it on a robot",
            hint=f"recap data record --task {name} --robot-config FILE --teleop-config FILE",
        )
