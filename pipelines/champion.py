"""Keeps the champion pointer of a run up to date while the runner works.

A pointer is written once the step that decided it is committed, so it survives whatever fails afterwards, and never
before, so it never names a policy that is not there.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from recap.store import Store
from recap.workspace import Workspace

if TYPE_CHECKING:
    from recap.champion import Champion


class ChampionObserver:
    """Told of every node; names the champion after the first choice of a policy and after each gate.

    Args:
        workspace: where the run is.
        run: its name.
        gated: the run decides by gates of its own. One that learns from recordings does not: whoever was made its
            champion elsewhere, by attempts, stays champion.
    """

    def __init__(self, workspace: Workspace, run: str, *, gated: bool = True) -> None:
        self._workspace, self._run, self._gated = workspace, run, gated
        self._latest: tuple[str, str, str, str] | None = None

    def on_event(self, event: Mapping[str, Any]) -> None:
        """A node that computed its result changes the pointer now; cached ones only at the end, the last of them."""
        kind = event["kind"]
        if kind in ("step_done", "step_cached"):
            output = {"checkpoint_selection": "policy", "gate": "champion"}.get(event["step"])
            first_choice = event["step"] == "checkpoint_selection" and self._latest is None
            if output is not None and (first_choice or event["step"] == "gate"):
                self._latest = (event["node"], event["step"], event["key"], output)
                if kind == "step_done" and not (first_choice and self._gate_decided()):
                    self._write()
        elif kind == "run_done" and event["state"] == "done":
            # A run that stopped early has not passed the later gates that decided before.
            self._write()

    def _write(self) -> None:
        from pipelines.steps.gate.outputs import GateResult
        from recap.champion import Champion, write_champion

        if self._latest is None:
            return
        node, step, key, output = self._latest
        stored = Store(self._workspace).load(step, key)
        assert stored is not None, f"{node} was committed before it was announced"
        verdict, reason = "initial", "the first policy of the run; no gate was asked"
        if step == "gate":
            decision = stored["decision"].read(GateResult).decision
            verdict, reason = decision.verdict.value, decision.reason
        identity = stored[output].identity
        if self._decided_elsewhere(identity):
            return
        write_champion(
            self._workspace,
            Champion(
                run=self._run,
                node=node,
                step=step,
                key=key,
                output=output,
                identity=identity,
                # A policy's id is the identity of its bundle's content.
                policy_id=identity,
                since=time.time(),
                verdict=verdict,
                reason=reason,
            ),
        )

    def _gate_decided(self) -> bool:
        """Whether a gate or a person chose the champion there is: a new first policy waits for the gates of its run."""
        current = self._current()
        return current is not None and current.verdict != "initial"

    def _decided_elsewhere(self, identity: str) -> bool:
        """Whether the pointer says more than this run's own decision for a policy."""
        current = self._current()
        if current is None:
            return False
        # A person took this very policy back, and no gate has decided for another since; or no gate was asked at all.
        return identity in current.instead_of.split() or (not self._gated and current.verdict != "initial")

    def _current(self) -> Champion | None:
        from recap.champion import read_champion
        from recap.errors import ArtifactCorrupt

        try:
            return read_champion(self._workspace, self._run)
        except ArtifactCorrupt:  # write_champion replaces it
            return None
