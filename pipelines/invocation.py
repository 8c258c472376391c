"""What a person typed, kept with the run so that `recap resume` can issue it again."""

from __future__ import annotations

import json
import shlex
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from recap.errors import ConfigError, UnknownName
from recap.workspace import Workspace, check_name, write_atomic

if TYPE_CHECKING:  # the settings of all steps cost 0.1 s and more, which `recap status` need not pay
    from pipelines.config import LoopConfig

_FILE = "invocation.json"
DEFAULT_TASK = "shirt_folding"


@dataclass(frozen=True, kw_only=True, slots=True)
class Invocation:
    """One `recap run` command line."""

    task: str
    preset: str
    name: str
    """Run name; one directory under the workspace's runs."""
    seed: int
    """Training seed."""
    executor: str | None
    """None: the preset's."""
    tracker: str | None
    """None: the preset's."""
    settings: tuple[str, ...]
    """As typed: "policy.model.fit.steps=500"."""
    iterations: int | None = None
    """None: the preset's."""
    value_model: str | None = None
    """Name of a value model family with its default settings; None: the preset's model."""
    unlabelled: str | None = None
    """"stop" or "skip"; None: the preset's."""
    collect: str | None = None
    """"none": an offline start, from `demos` and `rollouts`; None or "simulation": experience is recorded."""
    demos: str | None = None
    """Absolute path."""
    rollouts: str | None = None
    """Absolute path."""

    @classmethod
    def of(
        cls,
        *,
        task: str,
        preset: str = "sim",
        name: str | None = None,
        seed: int = 0,
        executor: str | None = None,
        tracker: str | None = None,
        settings: Sequence[str] = (),
        iterations: int | None = None,
        value_model: str | None = None,
        unlabelled: str | None = None,
        collect: str | None = None,
        demos: Path | None = None,
        rollouts: Path | None = None,
    ) -> Invocation:
        """The invocation with its name filled in: task, then preset, "offline" and seed where they are not the default.

        Raises:
            UnknownName: no such task or preset.
            ConfigError: options that do not go together.
        """
        from data.task_list import SEPARATOR, tasks_of
        from pipelines.config import PRESETS

        ids = [one.spec.id for one in tasks_of(task)]
        PRESETS.get(preset)
        offline = _is_offline(collect, demos, rollouts)
        parts = [
            "-and-".join(ids),
            *([preset] if preset != "sim" else []),
            *(["offline"] if offline else []),
            *([f"seed{seed}"] if seed else []),
        ]
        return cls(
            task=SEPARATOR.join(ids),
            preset=preset,
            name=check_name("run", name if name is not None else "-".join(parts)),
            seed=seed,
            executor=executor,
            tracker=tracker,
            settings=tuple(settings),
            iterations=iterations,
            value_model=value_model,
            unlabelled=unlabelled,
            collect=collect,
            demos=None if demos is None else str(demos.absolute()),
            rollouts=None if rollouts is None else str(rollouts.absolute()),
        )

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
        fields = json.loads(found[name].read_text())
        return cls(**{**fields, "settings": tuple(fields["settings"])})

    def save(self, workspace: Workspace) -> None:
        """Keeps it beside the run."""
        folder = workspace.run_dir(self.name)
        folder.mkdir(parents=True, exist_ok=True)
        write_atomic(folder / _FILE, json.dumps(asdict(self), indent=1).encode())

    def config(self) -> LoopConfig:
        """The full configuration: the preset, then the seed, then each --set in order.

        Raises:
            UnknownName: no such setting; ConfigError: not of its type or out of range, or not `name=value`.
        """
        from pipelines.config import PRESETS
        from recap.config import override

        config = _seeded(PRESETS.get(self.preset)(self.task), self.seed)
        if self.collect == "none":
            # A preset's later iterations need attempts by the policies of the earlier ones.
            turns = min(config.iterations, 1) if self.iterations is None else self.iterations
            config = replace(config, iterations=turns, demos=self.demos or "", rollouts=self.rollouts or "")
        elif self.iterations is not None:
            config = replace(config, iterations=self.iterations)
        if self.value_model is not None:
            from value_model.models import VALUE_MODELS

            model = VALUE_MODELS.get(self.value_model).config()
            config = replace(config, value=replace(config.value, model=model))
        if self.unlabelled is not None:
            config = replace(config, annotate=replace(config.annotate, unlabelled=self.unlabelled))
        if self.executor is not None:
            config = replace(config, executor=self.executor)
        if self.tracker is not None:
            config = replace(config, tracker=self.tracker)
        for text in self.settings:
            path, equals, value = text.partition("=")
            if not equals:
                raise ConfigError(f"--set {text!r}: expected name=value", hint="--set policy.model.fit.steps=500")
            config = override(config, path.strip(), value.strip())
        return config

    def command(self, workspace: Path) -> str:
        """The command line that issues this run again."""
        parts = ["recap", "run", "--task", self.task]
        for flag, value, usual in (
            ("--preset", self.preset, "sim"),
            ("--seed", str(self.seed), "0"),
            ("--executor", self.executor, None),
            ("--tracker", self.tracker, None),
            ("--iterations", self.iterations, None),
            ("--value-model", self.value_model, None),
            ("--unlabelled", self.unlabelled, None),
            ("--collect", self.collect, None),
            ("--demos", self.demos, None),
            ("--rollouts", self.rollouts, None),
        ):
            if value is not None and value != usual:
                parts += [flag, str(value)]
        usual_name = Invocation.of(
            task=self.task,
            preset=self.preset,
            seed=self.seed,
            collect=self.collect,
            demos=None if self.demos is None else Path(self.demos),
            rollouts=None if self.rollouts is None else Path(self.rollouts),
        ).name
        if self.name != usual_name:
            parts += ["--name", self.name]
        for text in self.settings:
            parts += ["--set", text]
        if workspace != Path("runs"):
            parts += ["--workspace", str(workspace)]
        return shlex.join(parts)


def default_task(workspace: Path, name: str | None) -> str:
    """The task of a run whose command names none.

    Raises:
        ConfigError: there is a run of that name, of another task: it would be replaced by one that nobody meant.
    """
    if name is None:
        return DEFAULT_TASK
    file = workspace / "runs" / check_name("run", name) / _FILE
    task = json.loads(file.read_text())["task"] if file.is_file() else DEFAULT_TASK
    if task != DEFAULT_TASK:
        raise ConfigError(
            f"run '{name}' is of task {task}, and --task was left out, which means {DEFAULT_TASK}",
            hint=f"recap resume {name}   (or --task {task})",
        )
    return DEFAULT_TASK


def _is_offline(collect: str | None, demos: Path | None, rollouts: Path | None) -> bool:
    """Whether the options ask for an offline start; ConfigError if they contradict each other."""
    if collect not in (None, "simulation", "none"):
        raise ConfigError(f"--collect {collect!r}: expected one of 'simulation', 'none'")
    for option, folder in (("--demos", demos), ("--rollouts", rollouts)):
        if collect != "none" and folder is not None:
            raise ConfigError(
                f"{option} without --collect none: this run would record its own experience and not read {folder}",
                hint=f"recap run ... --collect none --demos DIR --rollouts DIR   (or leave {option} out)",
            )
    if collect == "none" and demos is None:
        raise ConfigError(
            "--collect none without --demos: the base weights are trained on demonstrations",
            hint="recap run ... --collect none --demos DIR --rollouts DIR",
        )
    return collect == "none"


def _seeded(config: LoopConfig, seed: int) -> LoopConfig:
    """`seed` for every training but that of the base weights, and for the noise of rollouts.

    The base plays the part of published weights: the same for all arms and seeds.
    """
    return replace(
        config,
        policy=replace(config.policy, model=replace(config.policy.model, seed=seed)),
        value=replace(config.value, seed=seed, noise_seed=seed),
        rollout=replace(config.rollout, noise_seed=seed),
    )
