"""The sections about the run itself: where the time went, the data, the settings, where the numbers come from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pipelines.report.formats import duration, figure, flatten, size
from pipelines.report.model import Node, NodeState, ReportData

Context = Mapping[str, Any] | str | None

_COLOURS = 9


def stages(data: ReportData) -> Context:
    """Where the time went, and how far each step of the run came."""
    if not data.nodes:
        return "No step has begun yet."
    seconds = [node.seconds for node in data.nodes if node.seconds is not None]
    groups, names = _groups(data.nodes)
    return {
        "groups": groups,
        "stages": names,
        "widest": max((group["total"] for group in groups), default=1.0),
        "nodes": data.nodes,
        "longest": max(seconds, default=0.0) or 1.0,
        "total": sum(seconds),
        "cached": any(node.state is NodeState.CACHED for node in data.nodes),
    }


def _groups(nodes: Sequence[Node]) -> tuple[list[dict[str, Any]], list[str]]:
    """Time per iteration, split by stage; and the stages in the order of the run."""
    spent: dict[str, dict[str, float]] = {}
    for node in nodes:
        if node.seconds is not None:
            group = spent.setdefault(f"iteration {node.name.iteration}", {})
            group[node.name.stage] = group.get(node.name.stage, 0.0) + node.seconds
    names = list(dict.fromkeys(stage for group in spent.values() for stage in group))
    groups = [
        {
            "name": name,
            "total": sum(group.values()),
            "parts": [
                {"stage": stage, "seconds": seconds, "place": names.index(stage) % _COLOURS}
                for stage, seconds in group.items()
            ],
            "told": f"{name}: " + ", ".join(f"{stage} {duration(seconds)}" for stage, seconds in group.items()),
        }
        for name, group in spent.items()
        if sum(group.values()) > 0
    ]
    return groups, names


def data(data: ReportData) -> Context:
    """The recorded data behind the numbers."""
    facts = data.data
    if facts is None:
        return "No episode has been recorded yet."
    tiles = [
        ("Episodes", f"{facts.episodes:,}"),
        ("By source", ", ".join(f"{count:,} {source}" for source, count in facts.sources.items()) or "-"),
        ("Control steps", f"{facts.frames:,}"),
        ("On disk", size(facts.bytes)),
        ("Cameras", ", ".join(facts.cameras) or "none"),
        ("Renderer", ", ".join(facts.renderers) or "none (real cameras)"),
        ("Control rate", ", ".join(f"{figure(rate)} Hz" for rate in facts.rate_hz) or "-"),
        *((f"{name} version", version) for name, version in facts.software.items()),
    ]
    return {"tiles": tiles, "mixed": len(facts.renderers) > 1}


def settings(data: ReportData) -> Context:
    """Every setting that can change a number."""
    if not data.settings:
        return "The run has recorded no settings yet."
    return {"groups": [(group, list(flatten(values))) for group, values in data.settings.items()]}


def provenance(data: ReportData) -> Context:
    """Where the numbers come from: code, versions, machine, times, keys."""
    return {"p": data.provenance, "keyed": [node for node in data.nodes if node.key]}


def commands(data: ReportData) -> Context:
    """What to type next."""
    return {"commands": data.commands} if data.commands else None
