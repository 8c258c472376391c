"""The few things recap asks of MLflow, in its own words; the only module that imports it.

Owns names, limits and statuses. Knows nothing of journals. Uses MlflowClient only: no global run, no autologging, so
that MLFLOW_RUN_ID and the like, left over in the environment, do not decide where a run goes. With
MLFLOW_ENABLE_ASYNC_LOGGING batches would return before they are stored, so every batch asks for the opposite.
"""

from __future__ import annotations

import json
import logging
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from pipelines.preflight.environment import no_proxy_here
from recap.texts import escaped

_PARAM_CHARACTERS = 6000  # MLflow cuts, or refuses, longer ones depending on the store
_TAG_CHARACTERS = 5000
_NAME_CHARACTERS = 250
_DIGEST_CHARACTERS = 36
_ODD = re.compile(r"[^\w\-. :/]")


Point = tuple[str, float, int, int]
"""(metric, value, timestamp in ms, step)"""


def quiet() -> None:
    """No telemetry, no progress bars, no migration chatter; a dead server is given up in seconds, not minutes.

    Read by MLflow when it is imported; what a person has set stays.
    """
    for name, value in {
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "DO_NOT_TRACK": "true",
        "MLFLOW_CONFIGURE_LOGGING": "false",
        "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
        "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
        "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",
    }.items():
        os.environ.setdefault(name, value)
    os.environ.update(no_proxy_here(os.environ))
    for name in ("mlflow", "alembic"):
        logging.getLogger(name).setLevel(logging.WARNING)


class Client:
    """One experiment of one tracking server, and its model registry.

    The first one made migrates the database; only the driver makes any.
    """

    def __init__(self, uri: str, experiment: str, artifacts: Path | None) -> None:
        quiet()
        from mlflow.tracking import MlflowClient

        self._client = MlflowClient(tracking_uri=uri)
        found = self._client.get_experiment_by_name(experiment)
        self._here = artifacts is not None
        location = None if artifacts is None else artifacts.as_uri()
        self.experiment_id: str = found.experiment_id if found else self._client.create_experiment(experiment, location)

    def tagged(self, name: str, value: str) -> list[tuple[str, dict[str, str]]]:
        """(id, tags) of the runs that carry a tag, oldest first."""
        runs = self._client.search_runs(
            [self.experiment_id], f"tags.`{name}` = '{value}'", max_results=50_000, order_by=["start_time ASC"]
        )
        return [(run.info.run_id, run.data.tags) for run in runs]

    def create(self, name: str, began: float, tags: Mapping[str, str], parent: str | None = None) -> str:
        """A new run; `began` in UTC seconds."""
        extra = {} if parent is None else {"mlflow.parentRunId": parent}
        run = self._client.create_run(
            self.experiment_id, start_time=_ms(began), tags={**_cut(tags), **extra}, run_name=name
        )
        return str(run.info.run_id)

    def set_status(self, run: str, status: str, ended: float | None = None) -> None:
        """RUNNING, FINISHED, FAILED or KILLED; the last three with the end in UTC seconds."""
        if ended is None:
            self._client.update_run(run, status=status)
        else:
            self._client.set_terminated(run, status=status, end_time=_ms(ended))

    def tag(self, run: str, tags: Mapping[str, str]) -> None:
        """Sets tags; one that is there is replaced."""
        from mlflow.entities import RunTag

        self._client.log_batch(run, tags=[RunTag(*tag) for tag in _cut(tags).items()], synchronous=True)

    def params(self, run: str, values: Mapping[str, object]) -> None:
        """Sets params that are not there yet: MLflow never changes one."""
        from mlflow.entities import Param

        there = self._client.get_run(run).data.params
        fresh = [
            Param(name, escaped(str(value))[:_PARAM_CHARACTERS])
            for name, value in _named(values).items()
            if name not in there
        ]
        self._client.log_batch(run, params=fresh, synchronous=True)

    def metrics(self, run: str, points: Sequence[Point]) -> None:
        """Appends metric points."""
        from mlflow.entities import Metric

        self._client.log_batch(run, metrics=[Metric(*point) for point in points], synchronous=True)

    def last_steps(self, run: str) -> dict[str, int]:
        """{metric: highest step that MLflow has}."""
        return {
            name: max(point.step for point in self._client.get_metric_history(run, name))
            for name in self._client.get_run(run).data.metrics
        }

    def artifact(self, run: str, path: Path, folder: str) -> None:
        """Uploads a file or a directory; one of that name is replaced."""
        if path.is_dir():
            self._client.log_artifacts(run, str(path), folder or None)
        else:
            self._client.log_artifact(run, str(path), folder or None)

    def versions(self, model: str, tag: str) -> dict[str, str]:
        """{value of a tag: version} of the versions of a registered model that carry it; of one not there none."""
        found = self._client.search_model_versions(f"name = '{model}'")
        return {one.tags[tag]: str(one.version) for one in found if tag in one.tags}

    def register(self, model: str, source: Path, run: str, tags: Mapping[str, str]) -> str:
        """A new version of a registered model, made if it is not there; its number.

        A server elsewhere takes no path of this machine: there the version names its run, and a tag the path.
        """
        from mlflow.exceptions import MlflowException

        try:
            self._client.create_registered_model(model)
        except MlflowException as error:
            if error.error_code != "RESOURCE_ALREADY_EXISTS":
                raise
        where = source.absolute().as_uri() if self._here else f"runs:/{run}/{source.name}"
        named = {**_cut(tags), "recap.path": str(source)}
        # With a time to wait MLflow asks again and again for what is there at once.
        made = self._client.create_model_version(model, where, run, tags=named, await_creation_for=0)
        return str(made.version)

    def alias(self, model: str, alias: str, version: str) -> None:
        """Moves an alias to a version; "" takes it away."""
        if version:
            self._client.set_registered_model_alias(model, alias, version)
        else:
            self._client.delete_registered_model_alias(model, alias)

    def dataset(self, run: str, name: str, root: str, count: int, source: str) -> None:
        """Names a set of episodes as an input of a run: no data is read and nothing is pickled."""
        from mlflow.entities import Dataset, DatasetInput, InputTag

        dataset = Dataset(
            name=name,
            digest=root[:_DIGEST_CHARACTERS],
            source_type="recap",
            source=json.dumps({"episode_set": root, "artifact": source}),
            profile=json.dumps({"episodes": count}),
        )
        context = InputTag(key="mlflow.data.context", value="training")
        self._client.log_inputs(run, [DatasetInput(dataset=dataset, tags=[context])])


def shown_name(name: str) -> str:
    """`name` of a metric, param or tag as MLflow takes it: known characters, and a path that leads nowhere else.

    Example:
        >>> shown_name("loss of $x"), shown_name("/a//../b/"), shown_name("..."), shown_name("..a")
        ('loss of _x', 'a/b', '_', '__a')
    """
    parts = _ODD.sub("_", name)[:_NAME_CHARACTERS].split("/")
    path = "/".join(part for part in parts if part.strip("."))
    return re.sub(r"^\.\.", "__", path) or "_"


def _named[V](values: Mapping[str, V]) -> dict[str, V]:
    """The values under the names that MLflow takes, each under one of its own."""
    named: dict[str, V] = {}
    for name, value in values.items():
        shown = plain = shown_name(name)
        while shown in named:
            shown = f"{plain[: _NAME_CHARACTERS - 8]}_{len(named)}"
        named[shown] = value
    return named


def _cut(tags: Mapping[str, str]) -> dict[str, str]:
    return {name: escaped(value)[:_TAG_CHARACTERS] for name, value in _named(tags).items()}


def _ms(seconds: float) -> int:
    return int(seconds * 1000)
