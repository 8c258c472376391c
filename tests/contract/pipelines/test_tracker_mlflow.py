"""The MLflow mirror against a real SQLite store: nothing twice, nothing lost, and no run that it could stop."""

from __future__ import annotations

import shutil
import subprocess
import sys
import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from data.episode_set import EpisodeSet
from pipelines.trackers import TRACKERS, TrackerSettings
from recap.champion import Champion, roll_back, write_champion
from recap.hashing import sha256_hex
from recap.journal import FileJournal
from recap.provenance import StepAttempt
from recap.step import DirOutput, JsonOutput
from recap.store import Store
from recap.workspace import Workspace

pytestmark = [
    pytest.mark.xdist_group("mlflow"),
    # Third-party warnings of mlflow and its stack; ours stay errors.
    pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::UserWarning"),
    pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning"),
]

KEY = sha256_hex(b"collect")
POLICY_KEY = sha256_hex(b"policy")


@pytest.fixture(scope="module")
def migrated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database made from nothing, to copy: its migrations take seconds."""
    from pipelines.trackers.client import Client

    path = tmp_path_factory.mktemp("db") / "mlflow.db"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        Client(f"sqlite:///{path}", "unused", path.parent)
    return path


@pytest.fixture
def settings(tmp_path: Path, migrated: Path) -> TrackerSettings:
    workspace = Workspace.open(tmp_path / "runs")
    shutil.copy(migrated, workspace.root / "mlflow.db")
    return TrackerSettings(
        workspace=workspace.root,
        run_name="nightly",
        params={"preset": "micro", "task": "shirt_folding"},
        tags={"recap.command": "recap run"},
    )


def _journal(settings: TrackerSettings) -> FileJournal:
    return FileJournal(Workspace.open(settings.workspace).run_dir(settings.run_name) / "journal.jsonl", "")


def _collect(settings: TrackerSettings) -> str:
    """A committed collect step and its journal; returns the identity of the episode set."""
    store = Store(Workspace.open(settings.workspace))
    episodes = EpisodeSet.of([sha256_hex(b"a"), sha256_hex(b"b")])
    facts = {"step": "collect"}
    stored = store.commit(store.begin("collect", KEY), {"demos": JsonOutput(episodes.to_json())}, facts)
    identity = stored["demos"].identity
    journal = _journal(settings)
    journal.event("run_started", run="nightly", nodes=["0/collect", "0/policy"])
    at = journal.at("0/collect")
    at.event("step_started", step="collect", key=KEY, config={"episodes": 2, "flaws": {"share": 0.5}}, inputs={})
    at.progress(1, 2, "episodes")
    at.metrics({"success_share": 0.5}, step=0)
    at.event("step_done", step="collect", key=KEY, seconds=2.5, outputs={"demos": identity})
    return identity


def _train(settings: TrackerSettings, identity: str, steps: range, *, end: str | None = "step_done") -> None:
    at = _journal(settings).at("0/policy")
    at.event("step_started", step="policy", key=POLICY_KEY, config={"steps": 40}, inputs={"demos": identity})
    for step in steps:
        at.metrics({"loss": 1.0 / (step + 1), "lr": 1e-3}, step=step)
    if end == "step_done":
        at.event("step_done", step="policy", key=POLICY_KEY, seconds=4.0, outputs={"policy": "f" * 64})
        at.at("").event("run_done", run="nightly", state="done", seconds=6.5, executed=2, cached=0)
    elif end == "step_failed":
        at.event("step_failed", step="policy", key=POLICY_KEY, seconds=1.0, state="failed", error="ValueError: no")
        at.at("").event("run_done", run="nightly", state="failed", seconds=6.5, executed=1, cached=0)


def _sync(settings: TrackerSettings) -> Any:
    mirror: Any = TRACKERS.get("mlflow")(settings)
    assert mirror.close(timeout_s=60)
    return mirror


class Seen:
    """What MLflow holds of a run."""

    def __init__(self, settings: TrackerSettings) -> None:
        from mlflow.tracking import MlflowClient

        self.client = MlflowClient(tracking_uri=settings.uri or f"sqlite:///{settings.workspace / 'mlflow.db'}")
        experiment = self.client.get_experiment_by_name("recap")
        self.runs = [] if experiment is None else self.client.search_runs([experiment.experiment_id])

    def named(self, name: str) -> Any:
        (run,) = [run for run in self.runs if run.info.run_name == name]
        return run

    def steps(self, name: str, metric: str) -> list[int]:
        return [m.step for m in self.client.get_metric_history(self.named(name).info.run_id, metric)]


def test_a_run_has_a_parent_and_a_nested_run_per_step(settings: TrackerSettings) -> None:
    _train(settings, _collect(settings), range(3))
    _sync(settings)
    seen = Seen(settings)
    parent, collect, policy = (seen.named(name) for name in ("nightly", "0/collect", "0/policy"))
    assert len(seen.runs) == 3
    assert {run.data.tags["mlflow.parentRunId"] for run in (collect, policy)} == {parent.info.run_id}
    assert {run.info.status for run in seen.runs} == {"FINISHED"}
    assert parent.data.params == {"preset": "micro", "task": "shirt_folding"}
    assert parent.data.tags["recap.command"] == "recap run"
    assert collect.data.params == {"episodes": "2", "flaws.share": "0.5"}
    assert collect.data.metrics == {"success_share": 0.5, "step_seconds": 2.5}
    assert seen.steps("0/policy", "loss") == [0, 1, 2]
    assert policy.data.tags["recap.key"] == POLICY_KEY
    assert policy.data.tags["recap.attempts"] == "1"
    assert policy.data.tags["recap.output.policy"] == "f" * 64
    (given,) = policy.inputs.dataset_inputs
    assert given.dataset.name == "demos"
    assert given.dataset.digest == EpisodeSet.of([sha256_hex(b"a"), sha256_hex(b"b")]).root[:36]
    assert given.dataset.profile == '{"episodes": 2}'


def test_a_resumed_training_leaves_each_step_once(settings: TrackerSettings) -> None:
    identity = _collect(settings)
    _train(settings, identity, range(30), end=None)  # killed
    _sync(settings)
    assert Seen(settings).named("0/policy").info.status == "RUNNING"
    _train(settings, identity, range(20, 35), end="step_failed")  # from the checkpoint at step 20, fails
    _sync(settings)
    assert Seen(settings).named("0/policy").info.status == "FAILED"
    _train(settings, identity, range(20, 40))
    _sync(settings)
    seen = Seen(settings)
    assert seen.steps("0/policy", "loss") == list(range(40))
    assert seen.steps("0/policy", "lr") == list(range(40))
    policy = seen.named("0/policy")
    assert (policy.info.status, policy.data.tags["recap.attempts"]) == ("FINISHED", "3")
    assert policy.data.tags["recap.attempt.002"] == "failed after 1.0 s"
    assert policy.data.tags["recap.attempt.003"] == "done after 4.0 s"
    assert len(seen.runs) == 3


@pytest.mark.parametrize("loss", ["cursor lost", "cursor torn", "cursor behind"])
def test_a_cursor_that_is_wrong_doubles_nothing(settings: TrackerSettings, loss: str) -> None:
    identity = _collect(settings)
    cursor = Workspace.open(settings.workspace).run_dir("nightly") / "mlflow.json"
    _sync(settings)
    behind = cursor.read_bytes()
    _train(settings, identity, range(10))
    _sync(settings)
    if loss == "cursor lost":
        cursor.unlink()
    elif loss == "cursor torn":
        cursor.write_bytes(behind[: len(behind) // 2])
    else:
        cursor.write_bytes(behind)
    _sync(settings)
    seen = Seen(settings)
    assert len(seen.runs) == 3
    assert seen.steps("0/policy", "loss") == list(range(10))
    assert seen.steps("0/collect", "success_share") == [0]
    assert seen.named("0/policy").data.tags["recap.attempts"] == "1"


def test_a_fresh_database_gets_everything_again(settings: TrackerSettings, migrated: Path) -> None:
    _train(settings, _collect(settings), range(5))
    _sync(settings)
    shutil.copy(migrated, settings.workspace / "mlflow.db")
    _journal(settings).event("artifact", path="/nonexistent", folder="report")
    _sync(settings)
    seen = Seen(settings)
    assert len(seen.runs) == 3
    assert seen.steps("0/policy", "loss") == list(range(5))


def test_a_server_that_is_down_stops_nothing_and_catches_up(settings: TrackerSettings) -> None:
    said: list[str] = []
    down = replace(settings, uri="http://127.0.0.1:9", warn=said.append)
    identity = _collect(settings)
    mirror: Any = TRACKERS.get("mlflow")(down)
    assert mirror.sync() is False
    _train(settings, identity, range(4))
    assert mirror.close(timeout_s=60) is False
    assert len(said) == 1
    assert "http://127.0.0.1:9 cannot be reached" in said[0]
    _sync(settings)
    assert Seen(settings).steps("0/policy", "loss") == [0, 1, 2, 3]


def test_an_error_half_way_is_made_good(settings: TrackerSettings, monkeypatch: pytest.MonkeyPatch) -> None:
    from pipelines.trackers.client import Client

    _train(settings, _collect(settings), range(6))
    calls = 0
    whole = Client.metrics

    def breaks(self: Client, run: str, points: Any) -> None:
        nonlocal calls
        calls += 1
        if calls == 2:
            whole(self, run, points[:3])
            raise ConnectionError("cable pulled")
        whole(self, run, points)

    monkeypatch.setattr(Client, "metrics", breaks)
    mirror: Any = TRACKERS.get("mlflow")(settings)
    assert mirror.sync() is False
    assert mirror.sync() is True
    seen = Seen(settings)
    assert len(seen.runs) == 3
    assert seen.steps("0/policy", "loss") == list(range(6))
    assert seen.steps("0/policy", "lr") == list(range(6))


def test_a_step_run_anew_at_another_key_is_another_run(settings: TrackerSettings) -> None:
    identity = _collect(settings)
    _train(settings, identity, range(3))
    at = _journal(settings).at("0/policy")
    other = sha256_hex(b"other")
    at.event("step_started", step="policy", key=other, config={"steps": 80}, inputs={"demos": identity})
    at.metrics({"loss": 9.0}, step=0)
    _sync(settings)
    policies = [run for run in Seen(settings).runs if run.info.run_name == "0/policy"]
    assert {run.data.params["steps"] for run in policies} == {"40", "80"}


def test_odd_values_do_not_stop_the_mirror(settings: TrackerSettings) -> None:
    at = _journal(settings).at("0/x")
    at.event("step_started", step="x", key=KEY, config={"note": "n" * 9000, "empty": {}, "list": [1]}, inputs={})
    at.metrics({"a|b (share)": float("nan"), "huge": float("inf")}, step=0)
    at.event("step_failed", step="x", key=KEY, seconds=0.1, state="interrupted", error="E: " + "e" * 9000)
    _sync(settings)
    run = Seen(settings).named("0/x")
    assert len(run.data.params["note"]) == 6000
    assert "a_b _share_" in run.data.metrics
    assert run.info.status == "KILLED"


def test_the_report_is_an_artifact(settings: TrackerSettings, tmp_path: Path) -> None:
    report = tmp_path / "report.html"
    report.write_text("<p>better</p>")
    _train(settings, _collect(settings), range(1))
    mirror: Any = TRACKERS.get("mlflow")(settings)
    mirror.artifact(report, "report")
    assert mirror.close(timeout_s=60)
    seen = Seen(settings)
    (listed,) = seen.client.list_artifacts(seen.named("nightly").info.run_id, "report")
    assert listed.path == "report/report.html"


def test_following_in_the_background(settings: TrackerSettings) -> None:
    mirror: Any = TRACKERS.get("mlflow")(replace(settings, interval_s=0.05))
    mirror.start()
    _train(settings, _collect(settings), range(50))
    assert mirror.close(timeout_s=60)
    assert Seen(settings).steps("0/policy", "loss") == list(range(50))


def test_the_end_of_a_run_is_told_also_when_nothing_else_is(settings: TrackerSettings) -> None:
    _train(settings, _collect(settings), range(3), end=None)
    mirror: Any = TRACKERS.get("mlflow")(settings)
    assert mirror.sync() is True
    assert Seen(settings).named("nightly").info.status == "RUNNING"
    _journal(settings).event("run_done", run="nightly", state="interrupted", seconds=6.5, executed=1, cached=0)
    assert mirror.close(timeout_s=60)
    assert Seen(settings).named("nightly").info.status == "KILLED"


def test_the_flush_has_a_time_limit(settings: TrackerSettings, monkeypatch: pytest.MonkeyPatch) -> None:
    import threading

    said: list[str] = []
    release = threading.Event()
    _collect(settings)
    mirror: Any = TRACKERS.get("mlflow")(replace(settings, warn=said.append))
    monkeypatch.setattr(mirror, "_advance", lambda: release.wait(30))
    assert mirror.close(timeout_s=0.1) is False
    assert "did not answer within 0.1 s" in said[0]
    release.set()


FINISHED = """
import sys
from pathlib import Path
from pipelines.trackers import TRACKERS, TrackerSettings
from recap.journal import FileJournal
mirror = TRACKERS.get("mlflow")(TrackerSettings(workspace=Path({root!r}), run_name="nightly", interval_s=0.01))
mirror.start()
journal = FileJournal(Path({root!r}) / "runs/nightly/journal.jsonl", "")
journal.event("run_started", run="nightly", nodes=[])
journal.at("0/collect").event("step_cached", step="collect", key={key!r}, outputs={{}})
journal.event("run_done", run="nightly", state="done", seconds=0.1, executed=0, cached=1)
assert mirror.close()
assert "mlflow" not in sys.modules, "imported for nothing"
"""


def test_a_finished_run_issued_again_does_not_import_mlflow(settings: TrackerSettings) -> None:
    _collect(settings)
    _sync(settings)
    assert _journal(settings).path == settings.workspace / "runs/nightly/journal.jsonl"
    script = FINISHED.format(root=str(settings.workspace), key=KEY)
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr


def test_none_tracks_nothing(settings: TrackerSettings) -> None:
    tracker = TRACKERS.get("none")(settings)
    tracker.start()
    tracker.artifact(settings.workspace / "x")
    assert tracker.close()
    assert tracker.uri is None


ODD = "odd ?#% 'x' ü %41 {} \"q\""


def test_a_folder_of_any_name_holds_its_own_database(tmp_path: Path, migrated: Path) -> None:
    from pipelines.trackers import sqlite_uri

    workspace = Workspace.open(tmp_path / ODD)
    shutil.copy(migrated, workspace.root / "mlflow.db")
    settings = TrackerSettings(
        workspace=workspace.root, run_name="nightly", uri=sqlite_uri(workspace.root / "mlflow.db")
    )
    _train(settings, _collect(settings), range(3))
    report = workspace.root / "report.html"
    report.write_text("<p>better</p>")
    mirror: Any = TRACKERS.get("mlflow")(settings)
    mirror.artifact(report, "report")
    assert mirror.close(timeout_s=60)
    seen = Seen(settings)
    assert seen.steps("0/policy", "loss") == [0, 1, 2]
    (listed,) = seen.client.list_artifacts(seen.named("nightly").info.run_id, "report")
    (stored,) = (workspace.root / "mlflow-artifacts").rglob("report.html")
    assert listed.path == "report/report.html"
    assert stored.read_text() == "<p>better</p>"
    assert sorted(entry.name for entry in tmp_path.iterdir()) == [ODD]


def test_a_run_of_someone_else_does_not_take_ours_over(
    settings: TrackerSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mlflow.tracking import MlflowClient

    uri = f"sqlite:///{settings.workspace / 'mlflow.db'}"
    client = MlflowClient(tracking_uri=uri)
    theirs = client.create_run(client.create_experiment("theirs")).info
    monkeypatch.setenv("MLFLOW_RUN_ID", theirs.run_id)
    monkeypatch.setenv("MLFLOW_EXPERIMENT_ID", theirs.experiment_id)
    monkeypatch.setenv("MLFLOW_ENABLE_ASYNC_LOGGING", "true")
    _train(settings, _collect(settings), range(3))
    _sync(settings)
    seen = Seen(settings)
    assert sorted(run.info.run_name for run in seen.runs) == ["0/collect", "0/policy", "nightly"]
    assert "mlflow.parentRunId" not in seen.named("nightly").data.tags
    assert seen.steps("0/policy", "loss") == [0, 1, 2]
    left = client.get_run(theirs.run_id)
    assert (left.info.status, left.data.metrics, left.data.params) == ("RUNNING", {}, {})
    assert len(client.search_runs([theirs.experiment_id])) == 1


def test_a_dead_proxy_does_not_hide_a_server_of_this_machine(
    settings: TrackerSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    import threading
    from http.server import BaseHTTPRequestHandler, HTTPServer

    asked: list[str] = []

    class Refuses(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_error(404)

        def log_message(self, *_: Any) -> None:
            """Nothing on stderr."""

    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.setenv(name, "")
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "HTTPS_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    with HTTPServer(("127.0.0.1", 0), Refuses) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        _collect(settings)
        mirror: Any = TRACKERS.get("mlflow")(replace(settings, uri=f"http://127.0.0.1:{server.server_port}"))
        assert mirror.sync() is False  # it is no MLflow, but it was reached
        server.shutdown()
    assert asked


def test_a_server_that_never_answers_is_waited_for_with_a_word_and_not_long(settings: TrackerSettings) -> None:
    import socket
    import time

    said: list[str] = []
    with socket.socket() as silent:  # takes the connection and says nothing, ever
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        uri = f"http://127.0.0.1:{silent.getsockname()[1]}"
        _collect(settings)
        mirror: Any = TRACKERS.get("mlflow")(replace(settings, uri=uri, warn=said.append))
        began = time.monotonic()
        assert mirror.close(timeout_s=4.0) is False
        assert time.monotonic() - began < 8
    assert said[0] == f"waiting for MLflow at {uri}, at most 4 s"
    assert "did not answer within 4 s" in said[1]


def _models(settings: TrackerSettings) -> dict[str, Any]:
    """{name: {alias: node of its version}} of the model registry."""
    from mlflow.tracking import MlflowClient

    client = MlflowClient(tracking_uri=settings.uri or f"sqlite:///{settings.workspace / 'mlflow.db'}")
    return {
        model.name: {
            alias: client.get_model_version(model.name, version).tags["recap.node"]
            for alias, version in model.aliases.items()
        }
        for model in client.search_registered_models()
    }


def _choose(settings: TrackerSettings, node: str, step: str, content: str, inputs: dict[str, str]) -> str:
    """A committed bundle with its attempt and journal; its identity."""
    workspace, key = Workspace.open(settings.workspace), sha256_hex(f"{node}{content}".encode())
    store, output = Store(workspace), {"value_train": "models", "checkpoint_selection": "policy"}[step]
    facts = {"step": step, "config": {}, "inputs": inputs}
    attempt = StepAttempt(workspace, node=node, run_name="nightly", facts=facts, key=key)
    draft = store.begin(step, key)
    (draft.out / output).mkdir()
    (draft.out / output / "weights.bin").write_text(content)
    identity = store.commit(draft, {output: DirOutput(draft.out / output)}, facts)[output].identity
    attempt.end("done", outputs={output: identity})
    at = _journal(settings).at(node)
    at.event("step_started", step=step, key=key, config={}, inputs=inputs)
    at.event("step_done", step=step, key=key, seconds=1.0, outputs={output: identity})
    if content == "imitation":
        _name(workspace, node, key, identity)
    return identity


def _name(workspace: Workspace, node: str, key: str, identity: str) -> None:
    champion = Champion(
        run="nightly", node=node, step="checkpoint_selection", key=key, output="policy", identity=identity,
        policy_id=identity, since=1.0, verdict="promoted", reason="better",
    )  # fmt: skip
    write_champion(workspace, champion)


def test_policies_and_value_models_are_registered_and_the_champion_is_followed(settings: TrackerSettings) -> None:
    from mlflow.tracking import MlflowClient

    workspace = Workspace.open(settings.workspace)
    demos = _collect(settings)
    first = _choose(settings, "0/checkpoint_selection", "checkpoint_selection", "imitation", {"demos": demos})
    _sync(settings)
    assert _models(settings) == {"nightly-policy": {"champion": "0/checkpoint_selection"}}
    values = _choose(settings, "1/viva/value_train", "value_train", "values", {"experience": demos})
    inputs = {"labels": values, "experience": demos}
    _choose(settings, "1/random/checkpoint_selection", "checkpoint_selection", "arm", {"experience": demos})
    second = _choose(settings, "1/checkpoint_selection", "checkpoint_selection", "challenger", inputs)
    _sync(settings)
    expected = {
        "nightly-policy": {"champion": "0/checkpoint_selection", "challenger": "1/checkpoint_selection"},
        "nightly-policy-random": {},
        "nightly-values-viva": {"challenger": "1/viva/value_train"},
    }
    assert _models(settings) == expected
    with workspace.lock("test"):
        _name(workspace, "1/checkpoint_selection", sha256_hex(b"1/checkpoint_selectionchallenger"), second)
    gate = {"step": "gate", "key": sha256_hex(b"gate"), "seconds": 1.0, "outputs": {"champion": second}}
    _journal(settings).at("1/gate").event("step_done", **gate)
    _sync(settings)
    assert _models(settings)["nightly-policy"] == {"champion": "1/checkpoint_selection"}
    assert _models(settings)["nightly-values-viva"] == {"champion": "1/viva/value_train"}
    with workspace.lock("test"):
        assert roll_back(workspace, "nightly").identity == first
    _journal(settings).event("rolled_back", policy=first)
    _sync(settings)
    assert _models(settings)["nightly-policy"] == expected["nightly-policy"]
    client = MlflowClient(tracking_uri=f"sqlite:///{settings.workspace / 'mlflow.db'}")
    versions = {one.tags["recap.identity"]: one for one in client.search_model_versions("name = 'nightly-policy'")}
    assert set(versions) == {first, second}, "each policy is one version, however often it is mirrored"
    assert versions[second].tags["recap.made_of.models"] == values
    assert Path(versions[second].source.removeprefix("file://"), "weights.bin").read_text() == "challenger"
