"""The parts of the page, in their order."""

from pipelines.report.section import Section
from pipelines.report.sections import attempts, learning, limits, record

SECTIONS = (
    Section(id="verdict", title="Result", context=attempts.verdict),
    Section(id="iterations", title="Iterations", context=attempts.iterations),
    Section(id="open-loop", title="Open-loop evaluation", context=attempts.open_loop),
    Section(id="limits", title="What limits it: labels, conditioning or precision", context=limits.limits),
    Section(id="values", title="Values along attempts", context=learning.values),
    Section(id="advantages", title="Advantages and labels", context=learning.advantages),
    Section(id="value-health", title="Value model health", context=learning.value_health),
    Section(id="films", title="What it looks like", context=attempts.films),
    Section(id="outcomes", title="Outcomes by source", context=attempts.outcomes),
    Section(id="labels", title="Labels", context=learning.labels),
    Section(id="training", title="Training", context=learning.training),
    Section(id="selection", title="Checkpoint and way of acting", context=learning.selection),
    Section(id="stages", title="Minutes per stage", context=record.stages),
    Section(id="data", title="Data", context=record.data),
    Section(id="settings", title="Settings", context=record.settings),
    Section(id="provenance", title="Provenance", context=record.provenance),
    Section(id="commands", title="Commands", context=record.commands),
)

__all__ = ["SECTIONS"]
