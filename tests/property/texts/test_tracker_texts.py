"""The MLflow mirror against a real SQLite store: any text is shown, and none stops it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hostile import BLANK, HALVES, TEXTS

from pipelines.trackers import TRACKERS, TrackerSettings
from pipelines.trackers.client import shown_name
from recap.journal import FileJournal
from recap.workspace import Workspace

pytestmark = [
    pytest.mark.xdist_group("mlflow"),
    # Third-party warnings of mlflow and its stack; ours stay errors.
    pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::UserWarning"),
    pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning"),
]
EVERY = (*TEXTS, *BLANK, *HALVES)
PLAIN = {f"text {place}": text for place, text in enumerate(EVERY)}
NAMED = {text: text for text in EVERY if text}


def _spelled(text: str, most: int) -> str:
    """Half of a character cannot be kept, and neither can what is very long."""
    return text.encode(errors="backslashreplace").decode()[:most]


@pytest.mark.slow
def test_every_text_is_a_value_a_name_and_an_error(tmp_path: Path) -> None:
    from mlflow.tracking import MlflowClient

    said: list[str] = []
    workspace = Workspace.open(tmp_path / "runs")
    journal = FileJournal(workspace.run_dir("nightly") / "journal.jsonl", "")
    journal.event("run_started", run="nightly", nodes=["0/policy"])
    at = journal.at("0/policy")
    at.event("step_started", step="policy", key="f" * 64, config={"plain": PLAIN, **NAMED}, inputs={})
    at.metrics(dict.fromkeys(NAMED, 0.5), step=0)
    at.event("step_failed", step="policy", key="f" * 64, seconds=1.0, state="failed", error="".join(EVERY))
    given: dict[str, Any] = {"params": PLAIN | NAMED, "tags": PLAIN | NAMED, "warn": said.append}
    mirror: Any = TRACKERS.get("mlflow")(TrackerSettings(workspace=workspace.root, run_name="nightly", **given))
    assert mirror.close(timeout_s=60), said
    assert not [line for line in said if "cannot be reached" in line]
    client = MlflowClient(tracking_uri=mirror.uri)
    experiment = client.get_experiment_by_name("recap")
    runs = {run.info.run_name: run for run in client.search_runs([experiment.experiment_id])}
    parent, policy = runs["nightly"].data, runs["0/policy"].data
    assert runs["0/policy"].info.status == "FAILED"
    for name, text in PLAIN.items():
        assert policy.params[f"plain.{name}"] == parent.params[name] == _spelled(text, 6000)
        assert parent.tags[name] == _spelled(text, 5000)
    # A name that MLflow does not take is spelled otherwise, and no two become one.
    kept = sorted(value for name, value in parent.params.items() if name not in PLAIN)
    assert kept == sorted(_spelled(text, 6000) for text in NAMED)
    assert parent.params["漢字"] == "漢字"
    assert set(policy.metrics) == set(map(shown_name, NAMED))
