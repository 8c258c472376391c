"""What a person typed, kept with the run so that `recap resume` can issue it again.

The fields of `Invocation` are the options of `recap run`, of all that is issued like it, and of the command line that a
run prints: each is declared here and nowhere else.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from recap.errors import ConfigError, UnknownName
from recap.files import write_atomic
from recap.workspace import Workspace, check_name

if TYPE_CHECKING:  # the settings of all steps cost 0.1 s and more, which `recap status` need not pay
    from pipelines.config import Models, RunConfig

_FILE = "invocation.json"
DEFAULT_TASK = "shirt_folding"


def option(flag: str, text: str, *, kind: Any = str | None, default: Any = None) -> Any:
    """A field that is an option: how it is typed, and its help. Of tuples the parts are typed with commas between."""
    return field(default=default, metadata={"flag": flag, "help": text, "kind": kind})


def option_of_run(name: str) -> Any:
    """A field of another command that means what it means for `recap run`."""
    item = next(one for one in fields(Invocation) if one.name == name)
    return option(item.metadata["flag"], item.metadata["help"], kind=item.metadata["kind"], default=item.default)


@dataclass(frozen=True, kw_only=True, slots=True)
class Invocation:
    """One `recap run` command line. None: the preset's."""

    task: tuple[str, ...] = option(
        "--task", f"What to learn; several, with commas between, share one policy.  [default: {DEFAULT_TASK}]"
    )
    preset: str = option(
        "--preset",
        "Size of the run: sim, smoke, micro; real- or lora-pi05, real- or lora-gigabrain0 (published weights).",
        kind=str,
        default="sim",
    )
    name: str = option("--name", "Name of the run; by default made from task, preset and seed.")
    seed: int = option("--seed", "Training seed.", kind=int, default=0)
    iterations: int | None = option(
        "--iterations", "RECAP iterations after imitation; by default the preset's.", kind=int | None
    )
    policy: str | None = option("--policy", "Policy family; by default the preset's, mostly pi05.")
    value: str | None = option("--value", "Value model whose values label; by default viva.")
    values: tuple[str, ...] | None = option(
        "--values", "Value models that stand beside it, with commas between; none: no other.  [clock,state_only]"
    )
    labels: str | None = option(
        "--labels",
        "Arm whose labels train the challenger; by default the value model.  [all, outcome, random, flaw, ...]",
    )
    arms: tuple[str, ...] | None = option(
        "--arms", "Arms beside it, with commas between: trained and evaluated on the same data, never gated."
    )
    unlabelled: str | None = option("--unlabelled", "stop (and wait for labels) or skip episodes without a label.")
    collect: str | None = option(
        "--collect", "simulation, or none: learn from the recorded episodes of --demos and --rollouts."
    )
    demos: str | None = option(
        "--demos", "With --collect none: demonstrations (a workspace or an episode store).", kind=Path | None
    )
    rollouts: str | None = option("--rollouts", "With --collect none: rollouts and corrections.", kind=Path | None)
    env: str | None = option("--env", "Real robot: file that names it and its teleoperator.", kind=Path | None)
    executor: str | None = option("--executor", "ray or local; by default the preset's.")
    tracker: str | None = option("--tracker", "mlflow, none, or by default the preset's.")
    settings: tuple[str, ...] = option(
        "--set", "One setting, e.g. --set policy.model.fit.steps=500. Repeatable.", kind=list[str] | None, default=()
    )

    @classmethod
    def of(cls, *, workspace: Path | None = None, **typed: Any) -> Invocation:
        """The invocation of what was typed, with task and name filled in.

        The name is task, then preset, policy, value, "offline" or "robot", and seed where they are not the default.

        Args:
            workspace: where it would run; a run of that name may be of another task than the one left out.
            typed: by field, as the command line gives it.

        Raises:
            UnknownName: no such task or preset.
            ConfigError: options that do not go together.
        """
        from data.task_list import task_ids, tasks_of
        from pipelines.config import PRESETS

        given = {name: value for name, value in typed.items() if value is not None}
        ids = task_ids(given["task"]) if "task" in given else (_default_task(workspace, given.get("name")),)
        tasks_of(ids)
        stored: dict[str, Any] = {**given, "task": ids, "name": "", "settings": tuple(given.get("settings", ()))}
        stored |= {name: _names(given[name]) for name in ("values", "arms") if name in given}
        stored |= {name: str(Path(given[name]).absolute()) for name in ("demos", "rollouts", "env") if name in given}
        asked = cls(**stored)
        PRESETS.get(asked.preset)
        asked._check_offline()
        asked._check_arms()
        return replace(asked, name=check_name("run", given.get("name", asked._usual_name)))

    @property
    def _usual_name(self) -> str:
        from pipelines.config import DEFAULT_POLICY, Models

        usual = Models()
        main = self.labels or self.value or usual.value
        parts = [
            "-and-".join(self.task),
            *([self.preset] if self.preset != "sim" else []),
            *([self.policy] if self.policy not in (None, DEFAULT_POLICY) else []),
            *([main] if main != usual.value else []),
            *(["offline"] if self.collect == "none" else []),
            *(["robot"] if self.env else []),
            *([f"seed{self.seed}"] if self.seed else []),
        ]
        return "-".join(parts)

    @classmethod
    def load(cls, workspace: Path, name: str | None) -> Invocation:
        """The invocation of a run of the workspace; of the latest when `name` is None.

        Raises:
            UnknownName: no run of that name.
            ConfigError: no workspace there, or no run in it.
        """
        opened = Workspace.open(workspace, create=False)
        found = {path.parent.name: path for path in opened.runs.glob(f"*/{_FILE}")}
        if not found:
            raise ConfigError(f"no run in {opened.root}", hint="recap run --task NAME")
        if name is None:
            name = max(found, key=lambda run: found[run].stat().st_mtime)
        if name not in found:
            raise UnknownName.among("run", name, found, hint="recap list")
        return _read(found[name])

    def save(self, workspace: Workspace) -> None:
        """Keeps it beside the run."""
        folder = workspace.run_dir(self.name)
        folder.mkdir(parents=True, exist_ok=True)
        write_atomic(folder / _FILE, json.dumps(asdict(self), indent=1).encode())

    def config(self) -> RunConfig:
        """The full configuration: the preset, then the options, then each --set in order.

        Raises:
            UnknownName: no such setting or family.
            ConfigError: a setting not of its type or out of range, without effect in this run, or not `name=value`.
        """
        from pipelines.config import PRESETS
        from pipelines.settings import set_all

        config = replace(PRESETS.get(self.preset)(self.task, self._models()), seed=self.seed)
        if self.arms:
            config = replace(config, arms=self.arms)
        if self.collect == "none":
            # A preset's later iterations need attempts by the policies of the earlier ones.
            turns = min(config.iterations, 1) if self.iterations is None else self.iterations
            config = replace(config, iterations=turns, demos_from=self.demos or "", rollouts_from=self.rollouts or "")
        elif self.iterations is not None:
            config = replace(config, iterations=self.iterations)
        if self.env is not None:
            config = replace(config, robot_from=self.env)
        if self.unlabelled is not None:
            config = replace(config, annotate=replace(config.annotate, unlabelled=self.unlabelled))
        if self.executor is not None:
            config = replace(config, executor=replace(config.executor, name=self.executor))
        if self.tracker is not None:
            config = replace(config, tracker=self.tracker)
        return set_all(config, self.settings)

    def command(self, workspace: Path) -> str:
        """The command line that issues this run again."""
        parts = ["recap", "run"]
        for item in fields(self):
            value = getattr(self, item.name)
            usual = self._usual_name if item.name == "name" else item.default
            if item.name == "settings":
                parts += [part for text in value for part in ("--set", text)]
            elif value != usual:
                text = (",".join(value) or "none") if isinstance(value, tuple) else str(value)
                parts += [item.metadata["flag"], text]
        if workspace != Path("runs"):
            parts += ["--workspace", str(workspace)]
        return shlex.join(parts)

    def _models(self) -> Models:
        """The families of the run: value models only where an arm needs values, or --values names some."""
        from pipelines.config import Models

        usual = Models()
        labels = self.labels or self.value or usual.value
        arms = (labels, *(self.arms or ()))
        of_values = [arm for arm in arms if arm == self.value or not _is_rule(arm)]
        value = self.value or next(iter(of_values), usual.value if _read_values(arms) else "")
        beside = self.values if self.values is not None else usual.beside if value else ()
        return Models(
            policy=self.policy or usual.policy,
            value=value,
            beside=tuple(name for name in dict.fromkeys((*of_values, *beside)) if name != value),
            labels=labels,
        )

    def _check_arms(self) -> None:
        """Refuses arms that there are not, and value models and arms that contradict each other."""
        from value_model.arms import ARMS
        from value_model.models import VALUE_MODELS

        named = [name for name in (self.value, *(self.values or ())) if name]
        arms = [name for name in (self.labels, *(self.arms or ())) if name]
        for arm in arms:
            if not _is_rule(arm) and arm not in VALUE_MODELS.names():
                raise UnknownName.among("arm", arm, [*ARMS.names(), *VALUE_MODELS.names()])
            if _is_rule(arm) and arm in named:
                raise ConfigError(
                    f"'{arm}' is a value model of this run and an arm that reads no values: which one labels?",
                    hint=f"leave {arm} out of --values   (or out of --labels and --arms)",
                )
        if self.value and self.labels and self.value not in arms and not _read_values(arms):
            raise ConfigError(
                f"--value {self.value} with --labels {self.labels}: its values would label nothing",
                hint=f"--arms {self.value}   (or --values {self.value}: judged, and no labels)",
            )

    def _check_offline(self) -> None:
        if self.collect not in (None, "simulation", "none"):
            raise ConfigError(f"--collect {self.collect!r}: expected one of 'simulation', 'none'")
        if self.env is not None and self.collect is not None:
            raise ConfigError(
                f"--env with --collect {self.collect}: its attempts are made on the robot",
                hint="leave --collect out   (or --env)",
            )
        for option, folder in (("--demos", self.demos), ("--rollouts", self.rollouts)):
            if self.collect != "none" and folder is not None:
                raise ConfigError(
                    f"{option} without --collect none: this run would record its own experience and not read {folder}",
                    hint=f"recap run ... --collect none --demos DIR --rollouts DIR   (or leave {option} out)",
                )
        if self.collect == "none" and self.demos is None:
            raise ConfigError(
                "--collect none without --demos: the base weights are trained on demonstrations",
                hint="recap run ... --collect none --demos DIR --rollouts DIR",
            )


def _names(text: str) -> tuple[str, ...]:
    return () if text == "none" else tuple(part.strip() for part in text.split(",") if part.strip())


def _is_rule(arm: str) -> bool:
    from value_model.arms import ARMS

    return arm in ARMS.names()


def _read_values(arms: Sequence[str]) -> bool:
    """Whether a rule among them reads the values of a model."""
    from value_model.arms import ARMS

    return any(_is_rule(arm) and ARMS.get(arm).values for arm in arms)


def _read(path: Path) -> Invocation:
    found: dict[str, Any] = json.loads(path.read_text())
    if isinstance(found["task"], str):
        # Of a recap in which several tasks were one text, and the labelling value model had another name.
        found["task"] = found["task"].split(",")
        found["value"] = found.pop("value_model", None)
    known: Mapping[str, Any] = {
        name: tuple(value) if isinstance(value, list) else value for name, value in found.items()
    }
    return Invocation(**known)


def _default_task(workspace: Path | None, name: str | None) -> str:
    """The task of a run whose command names none.

    Raises:
        ConfigError: there is a run of that name, of another task: it would be replaced by one that nobody meant.
    """
    if name is None or workspace is None:
        return DEFAULT_TASK
    file = workspace / "runs" / check_name("run", name) / _FILE
    tasks = _read(file).task if file.is_file() else (DEFAULT_TASK,)
    if tasks != (DEFAULT_TASK,):
        listed = ",".join(tasks)
        raise ConfigError(
            f"run '{name}' is of task {listed}, and --task was left out, which means {DEFAULT_TASK}",
            hint=f"recap resume {name}   (or --task {listed})",
        )
    return DEFAULT_TASK
