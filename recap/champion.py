"""The policy that collects next: one small file per run that names a committed artifact.

    champions/<run>.json      the champion
    champions/<run>.jsonl     those before it, oldest first

It says which output of which node is the champion, since when and why. The file is replaced whole, and only by one
whose artifact is committed, so that whatever dies, it names the old champion or the new one. It must not know how a
champion is chosen. Writing needs the workspace lock.
"""

from __future__ import annotations

import json
import time
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path

from recap import faults
from recap.errors import ArtifactCorrupt, ConfigError
from recap.files import LineLog, sync, write_atomic
from recap.step import Artifact
from recap.store import Store
from recap.workspace import Workspace, check_name

FORMAT = 1


@dataclass(frozen=True, kw_only=True, slots=True)
class Champion:
    """Which policy a run acts with."""

    run: str
    node: str
    """Node whose output it is, e.g. "1/gate"."""
    step: str
    key: str
    """Key of that node's result, 64 hex digits."""
    output: str
    """Name of the output, e.g. "policy"."""
    identity: str
    """sha256 (hex) of the output's logical content."""
    policy_id: str
    since: float
    """UTC seconds of the decision that made this artifact champion."""
    verdict: str
    """Of the latest gate: promoted, kept or undecided; initial where there was none; rolled_back by a person."""
    reason: str
    """That verdict in words."""
    instead_of: str = ""
    """Identities of the policies that a person took back for this one, separated by spaces; "" of any other verdict."""


def champion_path(workspace: Workspace, run: str) -> Path:
    """Where the champion of a run is written; need not exist.

    Raises:
        ConfigError: not a run name.
    """
    return workspace.root / "champions" / f"{check_name('run', run)}.json"


def write_champion(workspace: Workspace, champion: Champion) -> Champion:
    """Makes a committed artifact the champion of its run. The same policy again keeps its `since`.

    Returns:
        What was written.

    Raises:
        ArtifactCorrupt: the artifact is not there or not the one named: the pointer is left as it was.
    """
    path = champion_path(workspace, champion.run)
    champion_artifact(workspace, champion)
    # A pointer that cannot be read must not keep a run from naming its champion again.
    try:
        earlier = read_champion(workspace, champion.run)
    except ArtifactCorrupt:
        earlier = None
    if earlier is not None and earlier.identity == champion.identity:
        champion = replace(champion, since=earlier.since)
    if champion == earlier:
        return champion
    path.parent.mkdir(exist_ok=True)
    if earlier is not None and earlier.identity != champion.identity:
        # Before the pointer: killed in between, the history ends with today's champion, and earlier_champions leaves
        # that out.
        _history(workspace, champion.run).append(json.dumps({"format": FORMAT, **asdict(earlier)}).encode())
    faults.point("champion.before_write")
    write_atomic(path, json.dumps({"format": FORMAT, **asdict(champion)}, indent=1).encode())
    faults.point("champion.before_sync")
    sync(workspace.root)
    return champion


def read_champion(workspace: Workspace, run: str) -> Champion | None:
    """The champion of a run; None if none was named yet. Says nothing of whether its artifact is still whole.

    Raises:
        ArtifactCorrupt: the file is not a champion of that run.
        ConfigError: not a run name, or written by a newer recap.
    """
    path = champion_path(workspace, run)
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return None
    return _parse(content, run, path)


def earlier_champions(workspace: Workspace, run: str) -> list[Champion]:
    """The champions of a run before the one it has, the latest first, each policy once.

    Raises:
        ArtifactCorrupt, ConfigError: as `read_champion`.
    """
    log = _history(workspace, run)
    current = read_champion(workspace, run)
    seen = {current.identity} if current else set[str]()
    found = []
    for line in reversed(log.lines()[0]):
        champion = _parse(line, run, log.path)
        if champion.identity not in seen:
            seen.add(champion.identity)
            found.append(champion)
    return found


def roll_back(workspace: Workspace, run: str, *, to: str = "", why: str = "") -> Champion:
    """Makes an earlier champion of a run its champion again.

    Args:
        workspace: needs its lock.
        run: name of the run.
        to: first digits of the policy's id; "": the champion before the one it has.
        why: in words, kept with the champion.

    Returns:
        The champion from now on.

    Raises:
        ConfigError: the run has no champion, or none before it, or none that begins so.
        ArtifactCorrupt: the earlier one is not there any more; the pointer is left as it was.
    """
    current = read_champion(workspace, run)
    if current is None:
        raise ConfigError(f"run '{run}' has no champion yet", hint=f"recap resume {run}")
    before = earlier_champions(workspace, run)
    match = [champion for champion in before if champion.policy_id.startswith(to)]
    if not match:
        known = ", ".join(champion.policy_id[:12] for champion in before) or "none"
        what = f"no earlier champion begins '{to}'" if to else "there is no earlier champion to go back to"
        raise ConfigError(f"run '{run}': {what}; earlier: {known}", hint=f"recap lineage {run}")
    reason = f"taken back for {current.policy_id[:12]}" + (f": {why}" if why else "")
    return write_champion(
        workspace,
        replace(
            match[0],
            since=time.time(),
            verdict="rolled_back",
            reason=reason,
            # What was taken back before is still taken back.
            instead_of=" ".join(
                one for one in (current.identity, *current.instead_of.split()) if one != match[0].identity
            ),
        ),
    )


def _history(workspace: Workspace, run: str) -> LineLog:
    return LineLog(champion_path(workspace, run).with_suffix(".jsonl"), fault="champion_history")


def _parse(content: bytes, run: str, path: Path) -> Champion:
    hint = f"move {path} away and re-issue the run: its gate names the champion again"
    try:
        record = json.loads(content)
        written = record.pop("format")
        if not isinstance(written, int) or written > FORMAT:
            raise ConfigError(f"{path} has format {written}, this recap knows up to {FORMAT}", hint="upgrade recap")
        champion = Champion(**record)
        expected = {item.name: (int, float) if item.name == "since" else (str,) for item in fields(Champion)}
        wrong = [name for name, kind in expected.items() if not isinstance(getattr(champion, name), kind)]
    except (ValueError, KeyError, AttributeError, TypeError) as error:
        if isinstance(error, ConfigError):
            raise
        raise ArtifactCorrupt(f"{path} is not a champion: {error!r}", hint=hint) from error
    if wrong or champion.run != run:
        raise ArtifactCorrupt(
            f"{path} is not the champion of run '{run}': it names run {champion.run!r}"
            + (f"; not of their type: {', '.join(wrong)}" if wrong else ""),
            hint=hint,
        )
    return champion


def champion_artifact(workspace: Workspace, champion: Champion) -> Artifact:
    """The artifact that a champion names, after a look at manifest, sizes and identity.

    Raises:
        ArtifactCorrupt: it is gone, torn, or another one.
    """
    where = f"champion of run '{champion.run}' ({champion.node})"
    outputs = Store(workspace).load(champion.step, champion.key)
    if outputs is None:
        raise ArtifactCorrupt(
            f"{where}: no artifact {champion.step} {champion.key[:16]}", hint="recap resume   (makes it again)"
        )
    if champion.output not in outputs:
        raise ArtifactCorrupt(f"{where}: output '{champion.output}' is not among {', '.join(sorted(outputs))}")
    found = outputs[champion.output]
    if found.identity != champion.identity:
        raise ArtifactCorrupt(
            f"{where}: output '{champion.output}' has identity {found.identity[:16]}, expected {champion.identity[:16]}"
        )
    return found


def champions(workspace: Workspace) -> list[Champion]:
    """The champion of every run that has one, by run name.

    Raises:
        ArtifactCorrupt: one of the files is not readable.
    """
    names = sorted(path.stem for path in (workspace.root / "champions").glob("[!.]*.json"))
    found = [read_champion(workspace, name) for name in names]
    return [champion for champion in found if champion is not None]
