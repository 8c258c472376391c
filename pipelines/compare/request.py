"""What a person asked to be compared. The fields are the options of `recap compare`, declared here and nowhere else."""

from __future__ import annotations

import shlex
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from pipelines.invocation import Invocation, option, option_of_run
from recap.errors import ConfigError, UnknownName
from recap.workspace import check_name

ABLATIONS = ("future_state", "K", "views", "backbone", "pretrained")
NONE = "none"
DEFAULT_VALUES = ("viva", "clock", "state_only")


@dataclass(frozen=True, kw_only=True, slots=True)
class Comparison:
    """One `recap compare` command line."""

    values: tuple[str, ...] = option(
        "--values", f"Value models, with commas between; the others against the first.  [{','.join(DEFAULT_VALUES)}]"
    )
    ablate: tuple[str, ...] = option(
        "--ablate", f"Variations of ViVa, with commas between: {', '.join(ABLATIONS)}.", default=()
    )
    seeds: int = option("--seeds", "Training seeds of every model.", kind=int, default=1)
    demos: str | None = option(
        "--demos",
        "Compare on these recordings, not a run's: a workspace, a store, a LeRobotDataset.",
        kind=Path | None,
    )
    rollouts: str | None = option("--rollouts", "With --demos: rollouts and corrections.", kind=Path | None)
    unseen: str | None = option(
        "--unseen-task", "Task that no model was trained on, demonstrated in simulation; none.  [pants_folding]"
    )
    task: str | None = option("--task", "With --demos: their task.")
    preset: str | None = option("--preset", "With --demos: size of the models: sim, smoke or micro.")
    seed: int | None = option("--seed", "The first training seed; by default that of the run.", kind=int | None)
    name: str | None = option("--name", "Name of the comparison; by default made from that of the run.")
    executor: str | None = option_of_run("executor")
    tracker: str | None = option_of_run("tracker")
    settings: tuple[str, ...] = option_of_run("settings")
    run: str | None = None
    """Whose experience it is; None with --demos, or for the latest run."""

    def __post_init__(self) -> None:
        if self.seeds < 1:
            raise ConfigError(f"--seeds {self.seeds}: expected at least 1")
        for name in self.ablate:
            if name not in ABLATIONS:
                raise UnknownName.among("ablation", name, ABLATIONS)
        if self.demos is None:
            for item in ("rollouts", "task", "preset"):
                if getattr(self, item) is not None:
                    raise ConfigError(
                        f"--{item} without --demos: the episodes, their task and the sizes are those of a run",
                        hint=f"leave --{item} out, or say where the recordings are: --demos DIR",
                    )
        elif self.run is not None:
            raise ConfigError(
                f"run '{self.run}' and --demos: the episodes are those of a run or recorded ones",
                hint="leave one of them out",
            )

    @classmethod
    def of(cls, *, run: str | None, **typed: Any) -> Comparison:
        """The comparison of what was typed.

        Raises:
            UnknownName: no such value model or ablation.
            ConfigError: options that do not go together.
        """
        from value_model.models import VALUE_MODELS

        given = {name: value for name, value in typed.items() if value is not None}
        stored: dict[str, Any] = {**given, "settings": tuple(given.get("settings", ())), "run": run}
        for name, usual in (("values", DEFAULT_VALUES), ("ablate", ())):
            parts = given.get(name) or usual
            texts = parts.split(",") if isinstance(parts, str) else parts
            stored[name] = tuple(dict.fromkeys(part.strip() for part in texts if part.strip()))
        stored |= {name: str(Path(given[name]).absolute()) for name in ("demos", "rollouts") if name in given}
        if not stored["values"]:
            raise ConfigError("--values names no value model", hint=f"--values {','.join(VALUE_MODELS.names())}")
        if "name" in given:
            check_name("comparison", given["name"])
        return cls(**stored)

    def resolved(self, workspace: Path) -> Comparison:
        """The same with its run named: which one is the latest changes with every run.

        Raises:
            UnknownName: no run of that name.
            ConfigError: no workspace there, or no run in it.
        """
        if self.demos is not None:
            return self
        return replace(self, run=Invocation.load(workspace, self.run).name)

    def command(self, workspace: Path) -> str:
        """The command line that issues this comparison again; of one that is `resolved`, whatever runs come later."""
        parts = ["recap", "compare", *([self.run] if self.run else [])]
        for item in fields(self):
            value = getattr(self, item.name)
            if item.name == "settings":
                parts += [part for text in value for part in ("--set", text)]
            elif item.name != "run" and value not in (None, (), item.default):
                parts += [item.metadata["flag"], ",".join(value) if isinstance(value, tuple) else str(value)]
        if workspace != Path("runs"):
            parts += ["--workspace", str(workspace)]
        return shlex.join(parts)
