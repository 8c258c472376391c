"""Environment variables that another tool or an earlier session left behind, and what becomes of each.

RAY_ADDRESS is not used, and said: a run starts its own Ray. MLFLOW_RUN_ID, MLFLOW_EXPERIMENT_ID and
MLFLOW_EXPERIMENT_NAME are not used, and said: a run has its own place in MLflow. MLFLOW_TRACKING_URI and MLFLOW_HTTP_*
are used: MLflow is a mirror, and a dead server is said within seconds. HTTP_PROXY, HTTPS_PROXY and ALL_PROXY are used,
but never for addresses of this machine.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

OF_RAY = ("RAY_ADDRESS",)
OF_MLFLOW = ("MLFLOW_RUN_ID", "MLFLOW_EXPERIMENT_ID", "MLFLOW_EXPERIMENT_NAME")
_PROXIES = ("http_proxy", "https_proxy", "all_proxy", "grpc_proxy")
_HERE = ("127.0.0.1", "localhost", "::1")


def not_used(environment: Mapping[str, str], names: Iterable[str], why: str) -> list[str]:
    """One line for a person for each of these variables that is set."""
    return [f"{name}={environment[name]} is not used: {why}" for name in names if environment.get(name)]


def no_proxy_here(environment: Mapping[str, str]) -> dict[str, str]:
    """The variables that keep requests to this machine off a proxy; none where no proxy is named.

    Both spellings: requests and gRPC read the lower one first, and an empty one hides the other.
    """
    if not any(environment.get(name) or environment.get(name.upper()) for name in _PROXIES):
        return {}
    wanted = {}
    for name, other in (("no_proxy", "NO_PROXY"), ("NO_PROXY", "no_proxy")):
        listed = [host.strip() for host in (environment.get(name) or environment.get(other) or "").split(",")]
        hosts = [host for host in listed if host]
        wanted[name] = ",".join([*hosts, *(host for host in _HERE if host not in hosts and "*" not in hosts)])
    return wanted
