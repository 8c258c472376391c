"""What `--set NAME=VALUE` changes, and its refusal where it would change nothing.

A setting exists only if it has an effect. Whether it has one in a run is asked of the run's graph: if no step would be
given anything else, the setting is refused and not swallowed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from recap.config import content_settings, semantic_dict
from recap.errors import ConfigError, UnknownName
from recap.hub import bound
from recap.overrides import is_semantic, override

if TYPE_CHECKING:
    from pipelines.config import RunConfig
    from recap.graph import Graph

MOVED: Mapping[str, str] = {
    "task": "--task",
    "collect": "demos",
    "rollout": "rollouts",
    "ingest": "imported",
    "select": "checkpoint_selection",
    "promote.gate": "gate",
    "promote": "gate",
    "health": "judge",
    "replay": "open_loop_eval",
    "value": "--value",
    "value.model": "values.NAME",
    "value.returns": "returns",
    "advantage.returns": "returns",
    "value.cross_fit": "cross_fit",
    "value.draws": "value_label.draws",
    "value.sample": "value_label.sample",
    "value.controls": "--values",
    "value.seed": "--seed",
    "values.viva.label_batch": "runtime.label_batch",
    "value.shard_episodes": "value_label.shard_episodes",
    "advantage.label.shuffle_seed": "--labels random",
    "replay.seed": "open_loop_eval.seed",
    "dashboard": "executor.dashboard",
    "policy.tags": "nothing: the graph derives the condition",
    "pretrain.model": "policy.model",
    "pretrain.model.fit": "pretrain",
    "policy.model.seed": "--seed",
}
"""What settings of an older recap are called now; the longest beginning of a name counts."""
OPTIONS = {
    "tasks": "--task",
    "seed": "--seed",
    "demos_from": "--demos",
    "rollouts_from": "--rollouts",
    "robot_from": "--env",
    "labels": "--labels",
    "arms": "--arms",
}
"""Fields of a run that are options, on which more depends than one field: its name, its preset, its folder."""
ONE_FOR_ALL = {
    "renderer": "env.renderer",
    "image_size": "env.image_size",
    "noise_seed": "noise_seed",
    "workers": "workers",
    "returns": "returns",
    "task": "--task",
    "lookahead": "lookahead_s of the task",
    "first_seed": "nothing: starts are dealt by the graph",
    "seed": "--seed",
}
"""What steps once had each for itself, and a run has once."""


_STEPS = (
    "collect",
    "rollout",
    "ingest",
    "select",
    "promote",
    "health",
    "replay",
    "evaluate",
    "value",
    "advantage",
    "policy",
)
"""What had settings of its own in an older recap."""


def set_all(config: RunConfig, texts: Sequence[str], build: Callable[[RunConfig], Graph] | None = None) -> RunConfig:
    """A copy of `config` with settings changed, in their order.

    Args:
        config: of the run.
        texts: "policy.model.fit.steps=500" each.
        build: makes the graph in which a setting must have an effect; None: that of `recap run`.

    Raises:
        UnknownName: no such setting; names the nearest, or what it is called now.
        ConfigError: not `name=value`, of another type or out of range, or without effect in this run.
    """
    changed = _folded(config, texts)
    if not texts:
        return changed
    given = _given(changed, build)
    for place, text in enumerate(texts):
        path = text.partition("=")[0].strip()
        try:
            without = _folded(config, [*texts[:place], *texts[place + 1 :]])
            if without == changed or not is_semantic(changed, path):
                continue
            same = _given(without, build) == given
        except ConfigError:  # it is what makes the others possible
            continue
        if same:
            raise ConfigError(
                f"--set {text}: it has no effect in this run ({_kind(config)}): no step would be given anything else",
                hint="leave it out; it is for a run that has such a step (docs/loop.md)",
            )
    return changed


def _folded(config: RunConfig, texts: Sequence[str]) -> RunConfig:
    for text in texts:
        path, equals, value = (part.strip() for part in text.partition("="))
        if not equals:
            raise ConfigError(f"--set {text!r}: expected name=value", hint="--set policy.model.fit.steps=500")
        if path in OPTIONS:
            raise ConfigError(f"--set {path}: it is an option of the run", hint=f"{OPTIONS[path]} {value}")
        if path == "gate" and value.lower() in ("true", "false"):
            raise UnknownName("setting 'gate' is a group of settings", hint="it is gated now, on or off (or gate.cap)")
        try:
            config = override(config, path, value)
        except UnknownName as error:
            now = _called_now(path)
            if now is None:
                raise
            raise UnknownName(error.message.splitlines()[0], hint=f"it is {now} now") from None
        except ConfigError as error:
            raise ConfigError(f"--set {text}: {error.message}", hint=error.hint) from error
    return bound(config)


def _called_now(path: str) -> str | None:
    last = path.rpartition(".")[2]
    if path not in MOVED and last in ONE_FOR_ALL and path.partition(".")[0] in _STEPS:
        return ONE_FOR_ALL[last]
    for old in sorted(MOVED, key=len, reverse=True):
        if path == old or path.startswith(f"{old}."):
            return f"{MOVED[old]}{path[len(old) :]}" if not MOVED[old].startswith("--") else MOVED[old]
    return None


def _given(config: RunConfig, build: Callable[[RunConfig], Graph] | None) -> list[Any]:
    """What every step of the run is given."""
    from pipelines.graph import build_graph

    graph = build_graph(config) if build is None else build(config)
    return [
        (
            node.name,
            node.spec.name,
            None if node.config is None else (type(node.config).__name__, semantic_dict(node.config)),
            [] if node.config is None else list(content_settings(node.config)),
            None if node.facts is None else semantic_dict(node.facts),
            sorted((name, str(ref)) for name, ref in node.inputs.items()),
            node.value,
        )
        for node in graph.order()
    ]


def _kind(config: RunConfig) -> str:
    where = "offline" if config.offline else "on a robot" if config.on_robot else "with an environment"
    return f"{where}, {config.iterations} iterations"
