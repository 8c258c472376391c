"""The first page of a run of several tasks: how each of them went, and where its own page is.

Owns that table. Each task's page is the report of a run of one task, from the parts of the run that concern it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from pipelines.report.charts import difference_reach, nice_end
from pipelines.report.collect import gather, tasks_in
from pipelines.report.model import ReportData
from pipelines.report.section import Section, all_sections
from pipelines.report.write import FILE_NAME, write_page, write_report
from recap.provenance import run_status
from recap.workspace import Workspace

_TASKS = """
<div class="scroll"><table><thead><tr><th>Task</th><th>Iteration</th><th class="n">Success</th>
<th class="wide">95 % interval</th><th class="n">Per hour</th><th class="wide">95 % interval</th>
<th class="wide">Difference, paired</th></tr></thead><tbody>
{% for row in rows %}{% set e = row.evaluation %}
<tr><th scope="row"><a href="{{ row.page }}">{{ row.task }}</a></th><td>{{ row.index }}</td>
{% if e %}
{{ cells.evaluation(e, top) }}
<td class="wide">{% if row.difference %}{{ cells.difference(row.difference.estimate, reach) }}
{% else %}<span class="sub">-</span>{% endif %}</td>
{% else %}<td colspan="5" class="sub">not evaluated</td>{% endif %}</tr>
{% endfor %}</tbody></table></div>
<p class="note">One policy and one value model for all tasks; each task has its own threshold, starts and page.
Candidates and gate are judged on all tasks together.</p>
{% for index, gate in gates %}<p>Gate of iteration {{ index }}: {{ m.verdict(gate.verdict) }} {{ gate.reason }}
{%- for task, won in gate.by_task.items() %}; {{ task }}: challenger {{ won.challenger }},
 champion {{ won.champion }} of {{ won.pairs }}{% endfor %}</p>
{% endfor %}
"""

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
    tasks = tasks_in(workspace, run_name)
    if not tasks:
        return write_report(gather(workspace, run_name), out_dir)
    pages = {task: gather(workspace, run_name, only=task) for task in tasks}
    own = [section for section in all_sections() if section.id not in _OF_ALL]
    for task, data in pages.items():
        write_report(data, out_dir / task, own)
    first = Section(id="tasks", order=0, title="Tasks", template=_TASKS, context=lambda _: _table(pages))
    shared = [section for section in all_sections() if section.id in _OF_ALL or section.id in _ON_BOTH]
    return write_page(_whole(workspace, run_name, pages), (first, *shared), out_dir)


def _whole(workspace: Workspace, run_name: str, pages: Mapping[str, ReportData]) -> ReportData:
    """What is true of the run as a whole; figures of one task stand on its own page."""
    some = next(iter(pages.values()))
    nodes = {node.name: node for data in pages.values() for node in data.nodes}
    return replace(
        some,
        task=", ".join(pages),
        prompt="",
        nodes=tuple(nodes[node.name] for node in run_status(workspace, run_name).nodes if node.name in nodes),
        missing=tuple(dict.fromkeys(line for data in pages.values() for line in data.missing)),
    )


def _table(pages: Mapping[str, ReportData]) -> Mapping[str, Any]:
    turns = [(task, turn) for task, data in pages.items() for turn in data.iterations]
    done = [turn.evaluation for _, turn in turns if turn.evaluation is not None]
    highest = max((e.throughput.high for e in done if e.throughput.high is not None), default=1.0)
    return {
        "rows": [
            {
                "task": task,
                "page": f"{task}/{FILE_NAME}",
                "index": turn.index,
                "evaluation": turn.evaluation,
                "difference": turn.difference,
            }
            for task, turn in turns
        ],
        "top": nice_end(highest),
        "reach": difference_reach(turn.difference.estimate for _, turn in turns if turn.difference is not None),
        "gates": [(turn.index, turn.gate) for turn in next(iter(pages.values())).iterations if turn.gate is not None],
    }
