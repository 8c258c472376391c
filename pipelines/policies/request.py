"""What a person asked to be evaluated. The fields are the options of `recap evaluate`, declared here alone."""

from __future__ import annotations

import shlex
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipelines.invocation import option, option_of_run
from pipelines.policies.found import FoundPolicy
from recap.errors import ConfigError
from recap.workspace import check_name

if TYPE_CHECKING:
    from pipelines.config import RunConfig

STARTS = ("validation", "test")


@dataclass(frozen=True, kw_only=True, slots=True)
class EvaluationRequest:
    """One `recap evaluate` command line. None: as the run of the policy has it, or the preset sim."""

    task: str | None = option("--task", "Simulated task to attempt; by default the one of the policy's run.")
    attempts: int | None = option("--attempts", "Starts to attempt, one attempt each.", kind=int | None)
    starts: str | None = option("--starts", "Which starts: validation or test.  [test]")
    name: str | None = option("--name", "Name of the evaluation; by default made from the policies.")
    executor: str | None = option_of_run("executor")
    tracker: str | None = option_of_run("tracker")
    settings: tuple[str, ...] = option_of_run("settings")
    policy: str | None = None
    """Run or folder; None: the latest run."""
    against: str | None = None
    """Likewise; attempts the same starts."""

    def __post_init__(self) -> None:
        if self.starts is not None and self.starts not in STARTS:
            raise ConfigError(f"--starts {self.starts}: expected {' or '.join(STARTS)}")
        if self.attempts is not None and self.attempts < 1:
            raise ConfigError(f"--attempts {self.attempts}: expected at least 1")
        if self.name is not None:
            check_name("evaluation", self.name)

    @classmethod
    def of(cls, *, policy: str | None, against: str | None, **typed: Any) -> EvaluationRequest:
        """The request of what was typed."""
        given = {name: value for name, value in typed.items() if value is not None}
        return cls(policy=policy, against=against, **{**given, "settings": tuple(given.get("settings", ()))})

    def command(self, workspace: Path) -> str:
        """The command line that issues this evaluation again."""
        parts = [
            "recap",
            "evaluate",
            *([self.policy] if self.policy else []),
            *([self.against] if self.against else []),
        ]
        for item in fields(self):
            value = getattr(self, item.name)
            if item.name == "settings":
                parts += [part for text in value for part in ("--set", text)]
            elif "flag" in item.metadata and value is not None:
                parts += [item.metadata["flag"], str(value)]
        if workspace != Path("runs"):
            parts += ["--workspace", str(workspace)]
        return shlex.join(parts)

    def task_of(self, policy: FoundPolicy) -> str:
        """The task to attempt.

        Raises:
            ConfigError: not said, and the policy is of no run, or of one with several tasks.
        """
        tasks = () if policy.invocation is None else policy.invocation.task
        if self.task is not None:
            return self.task
        if len(tasks) != 1:
            known = f"a run of {', '.join(tasks)}" if tasks else "no run"
            raise ConfigError(f"which task? Policy {policy.name} is of {known}", hint="--task NAME")
        return tasks[0]

    def config(self, policy: FoundPolicy, task: str) -> RunConfig:
        """The settings of the policy's run, or of the preset sim, with the options; without --set.

        Other starts than those of the run are attempted without films.
        """
        from pipelines.config import PRESETS, Models
        from policy.models import family_of_bundle

        if policy.invocation is not None:
            base = policy.invocation.config()
        else:
            base = PRESETS.get("sim")((task,), Models(policy=family_of_bundle(policy.path).name))
        usual = base.evaluate
        asked = replace(usual, split=self.starts or "test", attempts=self.attempts or usual.attempts, films=0)
        of_run = policy.invocation is not None and (asked.split, asked.attempts) == (usual.split, usual.attempts)
        config = replace(base, tasks=(task,), evaluate=usual if of_run else asked)
        if self.executor is not None:
            config = replace(config, executor=replace(config.executor, name=self.executor))
        return config if self.tracker is None else replace(config, tracker=self.tracker)
