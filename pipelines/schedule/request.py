"""What a person asks of a night. The fields of `NightRequest` are the options of `recap night`, declared once."""

from __future__ import annotations

import shlex
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from pipelines.datasets.request import ImportRequest
from pipelines.invocation import Invocation, option
from pipelines.schedule.clock import check_time
from recap.errors import ConfigError, UnknownName
from recap.overrides import override

_OF_DATASET = ("dataset", "task", "episodes", "skip_broken")
"""Fields of an import that are not said for all datasets alike."""
_SHORT = {"camera": "cameras"}


@dataclass(frozen=True, kw_only=True, slots=True)
class NightRequest:
    """One `recap night` command line, beside the run it is about."""

    watch: tuple[str, ...] = option(
        "--watch",
        "Folder to take new rollouts and corrections from: LeRobotDatasets, episode stores. Repeatable.",
        kind=list[Path] | None,
        default=(),
    )
    min_new_episodes: int = option(
        "--min-new-episodes", "With --watch: train only when so many are new.", kind=int, default=1
    )
    imports: tuple[str, ...] = option(
        "--import",
        "With --watch: how LeRobotDatasets are read, an option of an import, e.g. --import image-size=64. Repeatable.",
        kind=list[str] | None,
        default=(),
    )
    settle: int = option(
        "--settle", "With --watch: what changed within so many seconds is being written.", kind=int, default=60
    )
    until: str | None = option("--until", "HH:MM: end at the next checkpoint after it; the next night goes on.")
    notify: str | None = option(
        "--notify", "Shell command to run at the end; $RECAP_LINE says how it went, $RECAP_REPORT is its page."
    )

    @classmethod
    def of(cls, **typed: Any) -> NightRequest:
        """What was typed.

        Raises:
            ConfigError: out of range, not a time, no such import option, or options that have no effect here.
        """
        given = {name: value for name, value in typed.items() if value is not None}
        given["watch"] = tuple(str(Path(path).absolute()) for path in given.get("watch", ()))
        given["imports"] = tuple(given.get("imports", ()))
        asked = cls(**given)
        if asked.until is not None:
            check_time(asked.until, option="--until")
        for flag, value, least in (("--min-new-episodes", asked.min_new_episodes, 1), ("--settle", asked.settle, 0)):
            if value < least:
                raise ConfigError(f"{flag} {value}: expected at least {least}")
        usual = cls()
        idle = [
            name for name in ("min_new_episodes", "imports", "settle") if getattr(asked, name) != getattr(usual, name)
        ]
        if idle and not asked.watch:
            flags = ", ".join(item.metadata["flag"] for item in fields(cls) if item.name in idle)
            raise ConfigError(f"{flags} without --watch: nothing would be taken in", hint="recap night ... --watch DIR")
        asked.template("task", "run")
        return asked

    def template(self, task: str, run: str) -> ImportRequest:
        """How every dataset is read: what --import says, else rollouts of the run's champion.

        Raises:
            UnknownName: no such option.
            ConfigError: not NAME=VALUE, or not of the option's type.
        """
        request = ImportRequest(
            dataset=Path(), task=task, source="rollout", policy=f"champion-of-{run}", skip_broken=True
        )
        known = [item.name for item in fields(ImportRequest) if item.name not in _OF_DATASET]
        for text in self.imports:
            flag, equals, value = text.partition("=")
            name = _SHORT.get(flag, flag.replace("-", "_"))
            if not equals:
                raise ConfigError(f"--import {text!r}: expected NAME=VALUE, e.g. --import image-size=64")
            if name not in known:
                raise UnknownName.among("option of an import", flag, [one.replace("_", "-") for one in known])
            # A path is no type that a text says.
            request = replace(request, outcomes=Path(value)) if name == "outcomes" else override(request, name, value)
        if request.source == "demo":
            raise ConfigError("--import source=demo: expected rollout or correction; demonstrations go to --demos")
        return request

    def command(self, root: Path, invocation: Invocation, *, at: str | None = None) -> str:
        """The command line that issues this night; with `at` one that does nothing when it is not due."""
        words = ["recap", "night", *([] if at is None else ["--at", at])]
        for item in fields(self):
            value = getattr(self, item.name)
            if value != item.default:
                for one in value if isinstance(value, tuple) else (value,):
                    words += [item.metadata["flag"], str(one)]
        return shlex.join([*words, *shlex.split(invocation.command(root))[2:]])

    def run_of(self, root: Path, invocation: Invocation) -> Invocation:
        """The run that a night issues: with --watch, one that learns from the intake.

        Raises:
            ConfigError: the run names rollouts of its own, or records attempts itself.
        """
        if not self.watch:
            return invocation
        if invocation.collect != "none" or invocation.rollouts is not None or len(invocation.task) > 1:
            raise ConfigError(
                "--watch is for a run of one task that learns from recordings, and its rollouts are what is watched",
                hint="recap night --task NAME --collect none --demos DIR --watch DIR",
            )
        return replace(invocation, rollouts=str(self.intake(root, invocation)))

    def intake(self, root: Path, invocation: Invocation) -> Path:
        """Where new episodes are kept."""
        return root.absolute() / "nights" / invocation.name / "intake"
