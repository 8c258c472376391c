"""Advantages per source, the threshold through them, and the share of frames that they make positive."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pipelines.report.figures import AdvantageFacts, AdvantageShare, Histogram
from pipelines.report.formats import figure, percent, words
from pipelines.report.model import ReportData
from pipelines.report.section import Section
from pipelines.report.strip_chart import histogram_chart

_TEMPLATE = """
{{ m.problems(a.problems) }}
<div class="cards">
{% for h in histograms %}<div class="card histogram"><h3>{{ h.source }} <span class="sub">{{ "{:,}".format(h.frames) }}
 frames</span></h3>
{{ h.chart }}</div>{% endfor %}
</div>
<p class="note">Advantages of iteration {{ index }}, share of each source's frames per bin.
<span class="swatch positive"></span> above the threshold: positive. <span class="swatch negative"></span> negative.
<span class="swatch forced"></span> positive because a person acted, whatever the advantage.
{%- if a.lookahead %} Look-ahead: {{ a.lookahead }} control steps.{% endif %}
{%- if a.beyond %} The outer bins also hold the {{ a.beyond }} of all frames that lie beyond them.{% endif %}</p>
{% if a.not_finite %}<p class="note bad">{{ a.not_finite }} frames have no finite advantage and stand in no
bin.</p>{% endif %}
<div class="scroll"><table><thead><tr><th>Labels of</th><th>Source</th><th>Recorded in</th><th class="n">Episodes</th>
<th class="n">Frames</th><th class="n">Forced</th><th class="wide">Positive share</th></tr></thead><tbody>
{% for r in rows %}
<tr{% if r.total %} class="total"{% endif %}><td>iteration {{ r.index }}</td><td>{{ r.source }}</td>
<td>{{ r.recorded }}</td><td class="n">{{ r.episodes }}</td><td class="n">{{ "{:,}".format(r.frames) }}</td>
<td class="n">{{ r.forced }}</td><td class="wide">{{ m.share(r.positive, r.frames) }}</td></tr>
{% endfor %}</tbody></table></div>
{% if figures %}<div class="scroll"><table><thead><tr><th>Label health</th>
{% for i in indices %}<th class="n">Iteration {{ i }}</th>{% endfor %}</tr></thead><tbody>
{% for name, cells in figures %}<tr><th scope="row">{{ name }}</th>
{% for c in cells %}<td class="n">{{ m.num(c, figure(c)) if c is not none else "-" }}</td>{% endfor %}</tr>{% endfor %}
</tbody></table></div>{% endif %}
"""


def histogram_top(histograms: tuple[Histogram, ...]) -> float:
    """The upper end of an axis that holds the shares of every bin, in (0, 1]."""
    tops = [
        (n + p + f) / h.frames
        for h in histograms
        if h.frames
        for n, p, f in zip(h.negative, h.positive, h.forced, strict=True)
    ]
    return min(1.06 * max(tops, default=1.0), 1.0) or 1.0


def _row(index: int, source: str, recorded: str, shares: list[AdvantageShare], *, total: bool) -> dict[str, Any]:
    frames, forced = sum(s.frames for s in shares), sum(s.forced for s in shares)
    return {
        "index": index,
        "source": source,
        "recorded": recorded,
        "episodes": sum(s.episodes for s in shares),
        "frames": frames,
        "positive": sum(s.positive for s in shares),
        "forced": percent(forced / frames) if forced else "-",
        "total": total,
    }


def _rows(index: int, shares: tuple[AdvantageShare, ...]) -> list[dict[str, Any]]:
    shown = [s for s in shares if s.frames]
    rows = [
        _row(index, s.source, "-" if s.iteration is None else f"iteration {s.iteration}", [s], total=False)
        for s in shown
    ]
    if len(shown) > 1:
        rows.append(_row(index, "all", "-", shown, total=True))
    return rows


def _numbers(facts: AdvantageFacts) -> dict[str, float]:
    """The plain numbers of the step's own health record, and the threshold."""
    found: dict[str, float] = {} if facts.threshold is None else {"threshold": facts.threshold}

    def walk(record: Mapping[str, Any], before: str) -> None:
        for name, value in record.items():
            if isinstance(value, Mapping):
                walk(value, f"{before}{words(str(name))}, ")
            elif isinstance(value, (int, float)) and not isinstance(value, bool):
                found[f"{before}{words(str(name))}"] = float(value)

    walk(facts.health, "")
    return found


def _context(data: ReportData) -> Mapping[str, Any] | str | None:
    labelled = [(i.index, i.advantage) for i in data.iterations if i.advantage is not None]
    if not labelled:
        return "No advantage has been computed yet." if data.plans("advantage") else None
    index, latest = labelled[-1]
    top = histogram_top(latest.histograms)
    numbers = [_numbers(facts) for _, facts in labelled]
    return {
        "index": index,
        "a": latest,
        "histograms": [
            {
                "source": h.source,
                "frames": h.frames,
                "chart": histogram_chart(h, latest.edges, threshold=latest.threshold, top=top),
            }
            for h in latest.histograms
            if h.frames
        ],
        "rows": [row for number, facts in reversed(labelled) for row in _rows(number, facts.shares)],
        "indices": [number for number, _ in labelled],
        "figures": [
            (name, [found.get(name) for found in numbers])
            for name in dict.fromkeys(name for found in numbers for name in found)
        ],
        "figure": figure,
    }


SECTION = Section(id="advantages", order=28, title="Advantages and labels", template=_TEMPLATE, context=_context)
