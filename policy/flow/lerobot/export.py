"""A bundle as a folder that LeRobot's own tools load, tried in a process that has nothing of recap but the plug-in."""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from policy.flow.acting import load_policy
from policy.flow.bundle import read_bundle, write_bundle
from policy.flow.info import BundleInfo
from policy.flow.lerobot.files import FRAMES, LeRobotType
from policy.flow.network import FlowNetwork
from policy.models import Exported
from recap.errors import HealthError, RecapError
from recap.types import FloatArray, Observation

TOLERANCE = 1e-5
"""Of an action, in its unit; of actions beyond 1, of the largest."""


def export(
    kind: type[FlowNetwork],
    lerobot: LeRobotType,
    bundle: Path,
    out: Path,
    place: Path,
    observations: Sequence[Observation],
) -> Exported:
    """Writes `out`, which must not exist, and has LeRobot act from it: of LeRobot's own type where it can run it.

    Args:
        kind: network of the family.
        lerobot: as what LeRobot knows it.
        bundle: the policy.
        out: folder to make.
        place: where the caller moves it.
        observations: of one instruction, to compare actions on.

    Raises:
        ArtifactCorrupt: not a whole bundle.
        RecapError: LeRobot does not load the folder.
        HealthError: it acts otherwise from it.
    """
    network, info = read_bundle(kind, bundle)
    name, layout, note = lerobot.name, lerobot.layout, ""
    if lerobot.stock is not None:
        problem = lerobot.stock.why_not(info)
        note = f"not LeRobot's own {lerobot.stock.name}: {problem}"
        if not problem:
            name, layout, note = lerobot.stock.name, lerobot.stock.layout(lerobot, place), ""
    write_bundle(out, network, info, layout)
    del network
    difference, loaded = _difference(kind, info, bundle, out, observations)
    if loaded != name:
        raise RecapError(f"{out}: LeRobot takes it for a policy of type {loaded}, expected {name}")
    return Exported(
        type=loaded,
        note=note,
        difference=difference,
        execute=info.execute,
        relative=bool(info.relative_dims),
    )


def _difference(
    kind: type[FlowNetwork], info: BundleInfo, bundle: Path, folder: Path, observations: Sequence[Observation]
) -> tuple[float, str]:
    """(largest difference of an action, policy type that LeRobot found)."""
    seeds = range(len(observations))
    policy = load_policy(kind, bundle)
    noise = np.stack([policy.noise(seed).numpy() for seed in seeds])
    ours = np.stack([policy.act(one, noise_seed=seed) for one, seed in zip(observations, seeds, strict=True)])
    del policy
    theirs, loaded = _acted_by_lerobot(folder, info.cameras, observations, noise)
    if theirs.shape != ours.shape or not np.isfinite(theirs).all():
        raise HealthError(f"LeRobot acts from {folder} with {theirs.shape} actions, expected finite {ours.shape}")
    largest, bound = float(np.abs(theirs - ours).max()), TOLERANCE * max(1.0, float(np.abs(ours).max()))
    if largest > bound:
        raise HealthError(
            f"LeRobot acts otherwise from the exported policy than recap does: actions differ by up to {largest:.2g}, "
            f"expected at most {bound:.2g}; nothing was exported"
        )
    return largest, loaded


def _acted_by_lerobot(
    folder: Path, cameras: Sequence[str], observations: Sequence[Observation], noise: FloatArray
) -> tuple[FloatArray, str]:
    """[N, H, A] actions, and the policy type."""
    with tempfile.TemporaryDirectory() as scratch:
        seen = write_observations(Path(scratch) / "observations.npz", cameras, observations, noise)
        command = [sys.executable, "-m", "policy.flow.lerobot.act", str(folder), str(seen)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        said = done.stderr.strip().splitlines()
        raise RecapError(
            f"LeRobot does not load the exported policy: {said[-1] if said else f'exit code {done.returncode}'}",
            hint=f"make setup   (installs the plug-in); then look: {shlex.join(command[:-1])}",
        )
    told = json.loads(done.stdout.strip().splitlines()[-1])
    return np.array(told["actions"], np.float32), told["type"]


def write_observations(
    path: Path, cameras: Sequence[str], observations: Sequence[Observation], noise: FloatArray
) -> Path:
    """Writes the file that act.py reads: observations of one instruction, and the noise [N, H, F] of their chunks."""
    frames = {f"{FRAMES}{name}": np.stack([one.frames[name] for one in observations]) for name in cameras}
    states = np.stack([one.state for one in observations]).astype(np.float32)
    np.savez(path, state=states, noise=noise, prompt=observations[0].prompt, **frames)  # type: ignore[arg-type]
    return path
