"""`recap rollback`: the champion of a run is the one before it again, in its pointer, its journal and its tracker."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from pipelines.invocation import Invocation
from pipelines.run import params_of, tracker_of
from recap.champion import Champion, roll_back
from recap.journal import FileJournal
from recap.workspace import Workspace


def roll_back_run(root: Path, run: str | None, *, to: str, why: str, say: Callable[[str], None]) -> Champion:
    """Rolls the champion of a run back (recap.champion.roll_back) and has the tracker follow.

    Args:
        root: workspace directory.
        run: its name; None: the run that was started last.
        to: first digits of an earlier champion; "": the one before.
        why: kept with the champion.
        say: prints one line for a person.

    Raises:
        WorkspaceLocked: a run writes this workspace.
        ConfigError, ArtifactCorrupt: see roll_back.
    """
    workspace = Workspace.open(root, create=False)
    invocation = Invocation.load(root, run)
    with workspace.lock(f"rollback of {invocation.name}"):
        champion = roll_back(workspace, invocation.name, to=to, why=why)
        journal = FileJournal(workspace.run_dir(invocation.name) / "journal.jsonl", "")
        journal.event("rolled_back", policy=champion.policy_id, instead_of=champion.instead_of, why=why)
        config = invocation.config()
        tracker = tracker_of(workspace, config, invocation.name, params_of(invocation), say)
        if not tracker.close():
            say("tracker: not everything was mirrored in time; the next run of this name catches up")
    return champion
