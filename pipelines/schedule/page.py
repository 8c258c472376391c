"""The morning report: one page per night."""

from __future__ import annotations

import time
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

from pipelines.report.write import page_environment, page_style
from pipelines.schedule.challenger import Challenger
from pipelines.schedule.history import History, Night
from pipelines.schedule.intake import Found
from recap.champion import read_champion
from recap.errors import ArtifactCorrupt, RecapError
from recap.files import write_atomic
from recap.texts import escaped
from recap.workspace import Workspace

_EARLIER = 14


def write_night(
    workspace: Workspace,
    history: History,
    night: Night,
    found: Sequence[Found],
    challenger: Challenger | None,
    error: BaseException | None,
    run_page: Path | None,
    command: str,
) -> Path:
    """Writes the page of a night beside its history; returns its path.

    Args:
        workspace: where the run is.
        history: of its nights; this one has not ended there yet.
        night: this one.
        found: what the watched folders held.
        challenger: what it has made.
        error: what ended it.
        run_page: the report of the run.
        command: issues the same night again.
    """
    name = history.folder.name
    try:
        champion = read_champion(workspace, name)
    except ArtifactCorrupt:
        champion = None
    text = (
        page_environment()
        .get_template("night.html")
        .render(
            name=name,
            style=page_style(),
            night=night,
            found=found,
            champion=champion,
            challenger=challenger,
            error="" if error is None else str(error) if isinstance(error, RecapError) else repr(error),
            run_page="" if run_page is None else run_page.as_uri(),
            command=command,
            earlier=[one for one in reversed(history.nights(at_work=False)) if one.began != night.began][:_EARLIER],
            generated=time.time(),
        )
    )
    page = history.folder / f"{datetime.fromtimestamp(night.began).strftime('%Y-%m-%dT%H%M%S')}.html"
    write_atomic(page, escaped(text).encode(), durable=False)
    return page
