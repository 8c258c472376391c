"""The policies and value models of a run in MLflow's model registry, with aliases champion and challenger.

    RUN-policy          one version per chosen policy of the main arm; RUN-policy-ARM of the others
    RUN-values-NAME     one version per set of value models (all folds)

A version names the bundle in the workspace and carries what it was made of as tags; nothing is pickled and no weights
are uploaded. The champion is the one that the run's pointer names, so that a rollback is followed; the challenger is
the policy that was chosen last, if it is another one. The value models of both carry the same aliases.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from pipelines.trackers.client import Client
from recap.champion import read_champion
from recap.graph import NodeName
from recap.journal import Record
from recap.lineage import Lineage, read_lineage
from recap.store import Store
from recap.workspace import Workspace

_OUTPUTS = {"checkpoint_selection": "policy", "value_train": "models"}
IDENTITY = "recap.identity"


@dataclass(frozen=True, slots=True)
class _Model:
    name: str
    identity: str
    node: str
    step: str
    key: str


class Models:
    """Told of a run's journal in order; then brings the registry up to it."""

    def __init__(self, workspace: Workspace, run: str) -> None:
        self._workspace, self._run = workspace, run
        self._models: dict[tuple[str, str], _Model] = {}
        """{(name, identity)} in the order in which they came about."""
        self._versions: dict[str, dict[str, str]] = {}
        """{name: {identity: version}} as MLflow has them, once asked."""
        self._aliases: dict[tuple[str, str], str] = {}
        """{(name, alias): identity} as MLflow has them, as far as this process knows."""

    def fold(self, record: Record) -> None:
        """Notes a policy or value models that a step has committed."""
        output = _OUTPUTS.get(record.get("step", ""))
        identity = (record.get("outputs") or {}).get(output)
        if record["kind"] not in ("step_done", "step_cached") or identity is None:
            return
        node = NodeName.parse(record["node"])
        kind = "policy" if record["step"] == "checkpoint_selection" else "values"
        name = "-".join(part for part in (self._run, kind, node.subject) if part)
        model = _Model(name, str(identity), record["node"], record["step"], record["key"])
        self._models.setdefault((name, model.identity), model)

    def push(self, client: Client, runs: Mapping[tuple[str, str], str]) -> None:
        """Registers what is not there yet and moves the aliases.

        Args:
            client: of the tracking server.
            runs: {(node, key): id of its run in MLflow}.
        """
        known = [model for model in self._models.values() if (model.node, model.key) in runs]
        for name in dict.fromkeys(model.name for model in known):
            if name not in self._versions:
                self._versions[name] = client.versions(name, IDENTITY)
        new = [model for model in known if model.identity not in self._versions[model.name]]
        aliases = self._wanted(known)
        if not new and aliases == self._aliases:
            return
        lineage = read_lineage(self._workspace)
        for model in new:
            run = runs[model.node, model.key]
            source = Store(self._workspace).path(model.step, model.key) / _OUTPUTS[model.step]
            version = client.register(model.name, source, run, self._tags(lineage, model))
            self._versions[model.name][model.identity] = version
        for alias in ("champion", "challenger"):
            for name in self._versions:
                identity = aliases.get((name, alias)) or self._values_of(lineage, aliases, name, alias)
                version = self._versions[name].get(identity, "")
                client.alias(name, alias, version)
        self._aliases = aliases

    def _wanted(self, known: list[_Model]) -> dict[tuple[str, str], str]:
        name = f"{self._run}-policy"
        chosen = [model for model in known if model.name == name]
        pointer = read_champion(self._workspace, self._run)
        wanted = {}
        if pointer is not None:
            wanted[name, "champion"] = pointer.identity
        if chosen and (pointer is None or chosen[-1].identity != pointer.identity):
            wanted[name, "challenger"] = chosen[-1].identity
        return wanted

    def _values_of(self, lineage: Lineage, aliases: Mapping[tuple[str, str], str], name: str, alias: str) -> str:
        """Identity of the version of `name` that the policy of that alias was made of; "" if of none."""
        policy = aliases.get((f"{self._run}-policy", alias))
        if policy is None:
            return ""
        inside = {value for made in lineage.made_of(policy) for value in made.outputs.values()}
        return next((identity for identity in self._versions[name] if identity in inside), "")

    def _tags(self, lineage: Lineage, model: _Model) -> dict[str, str]:
        made_of = lineage.made_of(model.identity)
        tags = {
            IDENTITY: model.identity,
            "recap.run": self._run,
            "recap.node": model.node,
            "recap.key": model.key,
            "recap.commit": made_of[0].commit if made_of else "",
        }
        # Nearest last, so that of a name that several iterations have the nearest stays.
        for made in reversed(made_of):
            for output, identity in made.outputs.items():
                if identity != model.identity and output in ("episodes", "labels", "values", "models"):
                    tags[f"recap.made_of.{output}"] = identity
        return tags
