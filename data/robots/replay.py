"""Before a policy moves a robot: what it says of recorded observations, against what was done there.

Nothing moves. It finds what no limit can: a policy of another task, units or channel order, a camera swapped or black.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from data.robots.lerobot_config import RobotSetup
from data.sim.seeds import derive
from recap.errors import HealthError
from recap.protocols import PolicyClient
from recap.specs import RobotSpec
from recap.types import Episode, Observation

FRAMES = 8
"""So many of an episode, evenly spaced."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Replay:
    """Served actions against recorded ones."""

    frames: int
    error: float
    """Mean distance, as a share of each channel's limits, over the actions that would be executed."""
    outside: float
    """Share of the served actions with a channel beyond its limits."""


def replay(
    client: PolicyClient,
    episodes: Sequence[Episode],
    spec: RobotSpec,
    setup: RobotSetup,
    *,
    prompt: str,
    most: float,
) -> Replay:
    """What `client` serves for frames of `episodes`; it computes once or more before it is needed.

    Raises:
        HealthError: an action is not finite or of another shape, or the error is above `most`.
    """
    limits = np.array([setup.limits[name] for name in spec.action_names], dtype=np.float32)
    low, high = limits[:, 0], limits[:, 1]
    errors, outside = [], []
    for episode in episodes:
        frames = {name: episode.frames[name] for name in spec.camera_names}
        for t in np.unique(np.linspace(0, episode.length - 1, FRAMES).astype(int)):
            seen = Observation(
                state=episode.state[t], frames={name: film[t] for name, film in frames.items()}, prompt=prompt
            )
            (chunk,) = client.infer([seen], [derive("replay", int(t))])
            done = episode.action[t : t + client.execute]
            where = f"policy {client.policy_id[:12]}, episode {episode.id[:12]}, step {t}"
            if chunk.ndim != 2 or chunk.shape[1] != len(low) or len(chunk) < client.execute:
                raise HealthError(
                    f"{where}: chunk of shape {chunk.shape}, expected [{client.execute} or more, {len(low)}]"
                )
            if not np.isfinite(chunk).all():
                raise HealthError(f"{where}: an action is not finite; the robot was not moved")
            served = chunk[: len(done)]
            errors.append(float((np.abs(served - done) / (high - low)).mean()))
            outside.append(float(((served < low) | (served > high)).any(axis=1).mean()))
    found = Replay(frames=len(errors), error=float(np.mean(errors)), outside=float(np.mean(outside)))
    if found.error > most:
        raise HealthError(
            f"policy {client.policy_id[:12]}: its actions on {found.frames} recorded frames are {found.error:.0%} of "
            f"the limits' range from what was done there, expected at most {most:.0%}; the robot was not moved",
            hint="recap robot --replay-error 1   (moves it all the same)",
        )
    return found
