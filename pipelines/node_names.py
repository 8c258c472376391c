"""How the nodes of a run are called: "1/policy", or "1/box_assembly/collect" for one that works on one task of several.

Owns the form; whoever reads such a name, or builds one of several tasks, asks here.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class NodeName:
    """The parts of a name."""

    iteration: int | None
    """None for a node of no iteration."""
    stage: str
    task: str = ""
    """Of one that works on one of several tasks."""

    def __str__(self) -> str:
        parts = ["" if self.iteration is None else str(self.iteration), self.task, self.stage]
        return "/".join(part for part in parts if part)

    @classmethod
    def parse(cls, name: str) -> NodeName:
        """The parts of `name`.

        Example:
            >>> NodeName.parse("1/box_assembly/collect")
            NodeName(iteration=1, stage='collect', task='box_assembly')
        """
        first, _, rest = name.partition("/")
        if not (first.isdecimal() and rest):
            return cls(None, name.rpartition("/")[2])
        task, _, stage = rest.rpartition("/")
        return cls(int(first), stage, task)
