"""The policy that a night has made: named, judged by what recordings can tell, and not promoted.

    challengers/<run>.json

Recordings say whether a policy repeats what was done, not whether it would succeed: who becomes champion is decided by
attempts, on the robot, against the champion. Whoever plays those reads this file, and writes champions/<run>.json.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from pipelines.steps.open_loop_eval.outputs import OpenLoopEval
from recap.errors import ArtifactCorrupt
from recap.files import write_atomic
from recap.graph import NodeName
from recap.provenance import run_status
from recap.store import Store
from recap.workspace import Workspace, check_name

FORMAT = 1
OUTSIDE_LIMIT = 0.05
"""Largest fraction of actions beyond the recorded range."""
ERROR_LIMIT = 2.0
"""Largest error on demonstrations, in those of the imitation policy."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Challenger:
    """The latest policy of a run, and what keeps it from being tried."""

    run: str
    node: str
    """Node whose output it is."""
    step: str
    key: str
    output: str
    identity: str
    """sha256 (hex) of the bundle's content; also the policy's id."""
    path: str
    """Folder of the bundle."""
    since: float
    """UTC seconds."""
    problems: tuple[str, ...]
    """What its open-loop evaluation has against it, in words; none: it may be tried against the champion."""


def health_problems(evaluations: Mapping[str, OpenLoopEval], task: str) -> tuple[str, ...]:
    """What the open-loop evaluations of a run have against its latest policy.

    Args:
        evaluations: {node: figures}, those of the imitation policy among them.
        task: whose.
    """
    latest, imitation = evaluations[_evaluation(1, task)], evaluations[_evaluation(0, task)]
    problems = []
    outside = latest.contract.outside_fraction
    if outside > OUTSIDE_LIMIT:
        problems.append(f"{outside:.1%} of its actions lie beyond the recorded range, at most {OUTSIDE_LIMIT:.0%} may")
    for unit, mean in latest.groups["demos"].mean.items():
        usual = imitation.groups["demos"].mean[unit].error
        if mean.error > ERROR_LIMIT * usual:
            problems.append(
                f"its error on demonstrations is {mean.error:.4g} {unit}, more than {ERROR_LIMIT:g} times the "
                f"{usual:.4g} of imitation"
            )
    return tuple(problems)


def name_challenger(workspace: Workspace, run: str, evaluations: Mapping[str, OpenLoopEval], task: str) -> Challenger:
    """Names what the last iteration of a finished offline run has chosen. The same policy again keeps its `since`.

    Raises:
        ArtifactCorrupt: it is not in the store.
    """
    name = str(NodeName(1, "checkpoint_selection"))
    node = next(one for one in run_status(workspace, run).nodes if one.name == name)
    outputs = Store(workspace).load(node.step, node.key or "")
    if outputs is None:
        raise ArtifactCorrupt(f"{name} of run '{run}' is no longer stored", hint=f"recap resume {run}")
    made = outputs["policy"]
    # What cannot be read must not keep a run from naming its challenger again.
    try:
        earlier = read_challenger(workspace, run)
    except ArtifactCorrupt:
        earlier = None
    challenger = Challenger(
        run=run,
        node=name,
        step=node.step,
        key=node.key or "",
        output="policy",
        identity=made.identity,
        path=str(made.path),
        since=earlier.since if earlier is not None and earlier.identity == made.identity else time.time(),
        problems=health_problems(evaluations, task),
    )
    write_atomic(_path(workspace, run), json.dumps({"format": FORMAT, **asdict(challenger)}, indent=1).encode())
    return challenger


def read_challenger(workspace: Workspace, run: str) -> Challenger | None:
    """The challenger of a run; None if there is none.

    Raises:
        ArtifactCorrupt: the file is not one.
    """
    path = _path(workspace, run)
    try:
        record = json.loads(path.read_bytes())
    except FileNotFoundError:
        return None
    except ValueError as error:
        raise _damaged(path) from error
    try:
        if record.pop("format") != FORMAT or record["run"] != run:
            raise _damaged(path)
        return Challenger(**{**record, "problems": tuple(record["problems"])})
    except (KeyError, TypeError, AttributeError) as error:
        raise _damaged(path) from error


def _path(workspace: Workspace, run: str) -> Path:
    return workspace.root / "challengers" / f"{check_name('run', run)}.json"


def _damaged(path: Path) -> ArtifactCorrupt:
    return ArtifactCorrupt(f"{path} does not name a challenger: the next night of that run names it again")


def _evaluation(iteration: int, task: str) -> str:
    return str(NodeName(iteration, "open_loop_eval", task))
