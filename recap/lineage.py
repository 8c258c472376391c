"""What a result was made of, and what was made of it: read from the manifests of the store, and attempts beside them.

Two results of the same content are one thing here: the gate's champion is the policy that checkpoint selection chose.
It must not know what steps mean.

    lineage = read_lineage(Workspace.open("runs"))
    for made in lineage.made_of(lineage.find("3fa9c1d2")): ...
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from recap.errors import ArtifactCorrupt, ConfigError, UnknownName
from recap.provenance import attempts_at
from recap.store import Store
from recap.workspace import Workspace

_SHORTEST = 6


@dataclass(frozen=True, kw_only=True, slots=True)
class Made:
    """One committed result: what it is, what went in, and who made it when."""

    step: str
    key: str
    config: Mapping[str, Any]
    """Settings and facts that are in the key."""
    inputs: Mapping[str, str]
    """{input: identity}"""
    outputs: Mapping[str, str]
    """{output: identity}"""
    node: str
    """Node of the attempt that made it, e.g. "1/policy"; "" where that is not known."""
    run: str
    commit: str
    """Of recap's source; "" where it was not run from a checkout; with "+" behind it if files differed from it."""
    host: str
    ended: float | None
    """UTC seconds."""


@dataclass(frozen=True, slots=True)
class Lineage:
    """Every committed result of a workspace, oldest first, and what could not be read."""

    made: tuple[Made, ...]
    unreadable: tuple[str, ...]
    """One sentence each."""

    def maker(self, identity: str) -> Made | None:
        """The result that this content first was: not one that only passes on what it was given."""
        makers = [one for one in self.made if identity in one.outputs.values()]
        first = [one for one in makers if identity not in one.inputs.values()]
        return next(iter(first or makers), None)

    def made_of(self, identity: str) -> list[Made]:
        """The maker of a content and the makers of all that went into it, nearest first."""
        found: dict[str, Made] = {}
        waiting = [identity]
        while waiting:
            one = self.maker(waiting.pop(0))
            if one is not None and one.key not in found:
                found[one.key] = one
                waiting += one.inputs.values()
        return list(found.values())

    def made_from(self, identity: str) -> list[Made]:
        """Every result that the content went into, directly or through others, oldest first."""
        reached, found = {identity}, set[str]()
        while new := [one for one in self.made if one.key not in found and reached & set(one.inputs.values())]:
            for one in new:
                found.add(one.key)
                # What a step passes on (the gate its champion) was not made from its other inputs.
                reached |= set(one.outputs.values()) - set(one.inputs.values())
        return [one for one in self.made if one.key in found]

    def find(self, start: str) -> str:
        """The identity of an output that begins so.

        Raises:
            ConfigError: too short, or several begin so.
            UnknownName: none does.
        """
        if len(start) < _SHORTEST:
            raise ConfigError(f"'{start}': expected at least {_SHORTEST} digits of an identity", hint="recap status")
        found = sorted({value for one in self.made for value in one.outputs.values() if value.startswith(start)})
        if not found:
            raise UnknownName(f"no result of this workspace has an identity that begins '{start}'", hint="recap status")
        if len(found) > 1:
            raise ConfigError(f"'{start}' begins {len(found)} identities: {', '.join(one[:16] for one in found[:4])}")
        return found[0]


def read_lineage(workspace: Workspace) -> Lineage:
    """Reads every manifest; what is torn is named and left out."""
    store = Store(workspace)
    made, unreadable = [], []
    for entry in store.entries():
        try:
            manifest = store.manifest(entry)
        except (ArtifactCorrupt, ConfigError) as error:
            unreadable.append(error.message)
            continue
        attempt = _maker_attempt(workspace, manifest["step"], manifest["key"])
        facts, git = manifest["facts"], attempt.get("git") or {}
        made.append(
            Made(
                step=manifest["step"],
                key=manifest["key"],
                config=facts.get("config") or {},
                inputs=dict(facts.get("inputs") or {}),
                outputs={name: output["identity"] for name, output in manifest["outputs"].items()},
                node=attempt.get("node", ""),
                run=attempt.get("run", ""),
                commit=(git.get("commit") or "") + ("+" if git.get("dirty") else ""),
                host=attempt.get("host", ""),
                ended=attempt.get("ended"),
            )
        )
    made.sort(key=lambda one: one.ended or 0.0)
    return Lineage(tuple(made), tuple(unreadable))


def _maker_attempt(workspace: Workspace, step: str, key: str) -> dict[str, Any]:
    try:
        done = [one for one in attempts_at(workspace, step, key) if one.get("state") == "done"]
    except (json.JSONDecodeError, AttributeError):  # a record says who and when; the result itself is whole without it
        return {}
    return done[-1] if done else {}
