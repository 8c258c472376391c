"""Variables that another tool left in the environment: proxies are not asked for this machine, the rest is said."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipelines import run
from pipelines.invocation import Invocation
from pipelines.preflight.environment import OF_MLFLOW, OF_RAY, no_proxy_here, not_used
from recap.workspace import Workspace


def test_without_a_proxy_nothing_is_touched() -> None:
    assert no_proxy_here({"PATH": "/bin", "HTTP_PROXY": "", "no_proxy": "corp"}) == {}


@pytest.mark.parametrize("proxy", ["HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "ALL_PROXY", "grpc_proxy"])
def test_this_machine_is_never_asked_through_a_proxy(proxy: str) -> None:
    assert no_proxy_here({proxy: "http://10.0.0.1:3128"}) == {
        "no_proxy": "127.0.0.1,localhost,::1",
        "NO_PROXY": "127.0.0.1,localhost,::1",
    }


@pytest.mark.parametrize("spelling", ["no_proxy", "NO_PROXY"])
def test_what_a_person_listed_stays_in_both_spellings(spelling: str) -> None:
    wanted = no_proxy_here({"HTTP_PROXY": "http://p:1", spelling: "corp.example, localhost"})
    assert set(wanted.values()) == {"corp.example,localhost,127.0.0.1,::1"}


def test_a_star_means_everything_already() -> None:
    assert set(no_proxy_here({"HTTP_PROXY": "http://p:1", "no_proxy": "*"}).values()) == {"*"}


@pytest.mark.parametrize("proxy", ["HTTP_PROXY", "ALL_PROXY"])
def test_requests_of_http_clients_go_direct(proxy: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from requests.utils import get_environ_proxies

    for name in ("http_proxy", "all_proxy", "no_proxy", "HTTP_PROXY", "ALL_PROXY", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv(proxy, "http://127.0.0.1:9")
    assert get_environ_proxies("http://127.0.0.1:5000/api")
    for name, value in no_proxy_here({proxy: "http://127.0.0.1:9"}).items():
        monkeypatch.setenv(name, value)
    for address in ("http://127.0.0.1:5000/api", "http://localhost:5000/api"):
        assert get_environ_proxies(address) == {}
    assert get_environ_proxies("http://mlflow.example/api")


def test_each_variable_that_is_not_used_is_named() -> None:
    lines = not_used({"MLFLOW_RUN_ID": "abc", "MLFLOW_EXPERIMENT_NAME": ""}, OF_MLFLOW, "because")
    assert lines == ["MLFLOW_RUN_ID=abc is not used: because"]


def test_a_run_says_which_it_does_not_use(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("RAY_ADDRESS", "MLFLOW_RUN_ID", "MLFLOW_EXPERIMENT_ID", "MLFLOW_EXPERIMENT_NAME"):
        monkeypatch.setenv(name, "theirs")
    workspace = Workspace.open(tmp_path)
    said: list[str] = []
    for executor, tracker in (("local", "none"), ("ray", "mlflow")):
        invocation = Invocation.of(task="shirt_folding", preset="micro", executor=executor, tracker=tracker)
        config = invocation.config()
        run._executor(config, invocation.name, lambda event: None, said.append)
        run.tracker_of(workspace, config, invocation.name, {}, said.append)
    assert [line.partition("=")[0] for line in said] == [*OF_RAY, *OF_MLFLOW]
