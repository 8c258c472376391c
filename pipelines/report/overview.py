"""The report of a run as files: one page, or in a run of several tasks a page per task and one that compares them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from pipelines.report.collect import gather
from pipelines.report.formats import difference_reach
from pipelines.report.model import ReportData
from pipelines.report.section import Section
from pipelines.report.sections import SECTIONS
from pipelines.report.sections.attempts import throughput_end
from pipelines.report.write import FILE_NAME, write_page, write_report
from recap.workspace import Workspace

_OF_ALL = ("labels", "selection", "training", "stages")
"""Sections whose numbers are of all tasks together: on the first page alone."""
_ON_BOTH = ("provenance", "commands")


def write_pages(workspace: Workspace, run_name: str, out_dir: Path) -> Path:
    """Writes the report of a run into `out_dir`; returns its first page.

    A run of one task has one page. One of several has a page per task (`out_dir`/TASK/report.html) and a first page
    that compares them.

    Raises:
        UnknownName: no such run, or its task is not registered.
        ConfigError: an output lacks a field that the report reads.
    """
    whole = gather(workspace, run_name)
    if not whole.tasks:
        return write_report(whole, out_dir)
    pages = {task: gather(workspace, run_name, only=task) for task in whole.tasks}
    own = [section for section in SECTIONS if section.id not in _OF_ALL]
    for task, data in pages.items():
        write_report(data, out_dir / task, own)
    first = Section(id="tasks", title="Tasks", context=lambda _: _table(pages))
    shared = [section for section in SECTIONS if section.id in _OF_ALL or section.id in _ON_BOTH]
    missing = dict.fromkeys(line for data in pages.values() for line in data.missing)
    some = next(iter(pages.values()))
    # Figures of one task stand on its own page.
    told = replace(some, task=", ".join(pages), prompt="", nodes=whole.nodes, missing=tuple(missing))
    return write_page(told, (first, *shared), out_dir)


def _table(pages: Mapping[str, ReportData]) -> Mapping[str, Any]:
    turns = [(task, f"{task}/{FILE_NAME}", turn) for task, data in pages.items() for turn in data.iterations]
    some = next(iter(pages.values()))
    return {
        "rows": turns,
        "top": throughput_end(turn.evaluation for *_, turn in turns if turn.evaluation is not None),
        "reach": difference_reach(turn.difference.estimate for *_, turn in turns if turn.difference is not None),
        "gates": [(turn.index, turn.gate) for turn in some.iterations if turn.gate is not None],
    }
