"""Whether a hint works when it is typed: against the command line, the settings, the Makefile and the docs."""

from __future__ import annotations

import importlib
import importlib.util
import re
import shlex
import sys
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import typer
from hint_scan import FILLED, PACKAGES, Hint

ROOT = Path(__file__).parents[3]
RUN = ("run",)
RAISED_BY: dict[str, tuple[str, ...]] = {
    "cli/annotate.py": ("annotate",),
    "cli/views.py": ("annotate",),
    "data/lerobot_io/writing.py": ("data export",),
    "data/lerobot_io/": ("data import",),
    "data/outcomes.py": ("data import",),
    "data/corrections.py": RUN,
    "data/robots/recording.py": ("data record",),
    "data/robots/gym.py": RUN,
    "data/sim/backend.py": RUN,
    "pipelines/attempts.py": RUN,
    "pipelines/compare/": ("compare",),
    "pipelines/config.py": RUN,
    "pipelines/datasets/export.py": ("data export",),
    "pipelines/datasets/importing.py": ("data import",),
    "pipelines/datasets/plan.py": ("data import",),
    "pipelines/invocation.py": RUN,
    "pipelines/graph.py": RUN,
    "pipelines/policies/export.py": ("export",),
    "pipelines/policies/": ("evaluate",),
    "pipelines/preflight/ahead.py": RUN,
    "pipelines/preflight/models.py": RUN,
    "pipelines/preflight/recorded.py": RUN,
    "pipelines/presets/": RUN,
    "pipelines/schedule/": ("night", "schedule add", "schedule list", "schedule remove", "schedule run-now"),
    "pipelines/serving.py": ("serve",),
    "pipelines/settings.py": RUN,
    "pipelines/steps/": RUN,
    "recap/contents.py": RUN,
    "recap/hub.py": RUN,
    "recap/training/": RUN,
    "recap/workspace.py": ("run", "resume", "status", "data import"),
    "value_model/": RUN,
    "policy/serving/": ("serve",),
    "policy/": RUN,
}
"""{file or folder: commands that can raise its errors}: an option that stands alone in a hint is one of theirs."""

# A command ends where the sentence around it goes on.
_COMMAND = re.compile(r"\brecap ([a-z][^`\n()]*?)(?=,? or\b(?! more)|, |; |   |\s*[`\n()]|$)")
_OPTION = re.compile(r"(?<![\w-])--[a-z][a-z-]*")
_DOTTED = re.compile(r"(?<![\w./'-])[a-z][a-z_0-9]*(?:\.[a-z_0-9]+)+(?:\.[A-Z]\w*)?")
_LABELS = ("recap ingest",)
"""Written beside what a step has stored, as who did it; nobody types them."""


def faults(hint: Hint) -> list[str]:
    """What does not work, one sentence each; nothing if all of it does."""
    found: list[str] = []
    rest = hint.text
    for match in _COMMAND.finditer(hint.text):
        words = match[1]
        if hint.error or _leaf(words) is not None:
            found += _command_faults(words, whole=hint.error)
            rest = rest.replace(match[0], " ", 1)
        elif match[0] not in _LABELS and _begins(hint.text, match.start()):
            found += [f"no command: recap {words}"]
    if hint.error:
        found += _loose_option_faults(rest, hint.file)
        found += _setting_faults(rest)
    found += [f"no page {page}" for page in re.findall(r"docs/[\w/-]+\.\w+", hint.text) if not (ROOT / page).is_file()]
    targets = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    found += [
        f"no make target {name}" for name in re.findall(r"\bmake ([a-z]+-[a-z-]+)", hint.text) if name not in targets
    ]
    found += [
        f"no {at}" for at in re.findall(r"\.envs/(\w+)/bin/recap", hint.text) if not (ROOT / "envs" / at).is_dir()
    ]
    return found


def _begins(text: str, at: int) -> bool:
    """Whether a command is what a text says here, and not the project's name in a sentence."""
    return at == 0 or text[:at].endswith(("next: ", ":  ", "`"))


@cache
def _root() -> Any:
    from cli.main import app

    return typer.main.get_command(app)


def _leaf(words: str) -> tuple[str, Any, list[str]] | None:
    """(name, command, remaining words) of the longest command that the words begin with; None: none."""
    command, name = _root(), []
    left = words.split()
    while left and left[0] in getattr(command, "commands", {}):
        name.append(left.pop(0))
        command = command.commands[name[-1]]
    return (" ".join(name), command, left) if name and not hasattr(command, "commands") else None


def _command_faults(words: str, *, whole: bool) -> list[str]:
    line = f"recap {words}"
    leaf = _leaf(words)
    if leaf is None:
        return [f"no command: {line}"]
    name, command, _ = leaf
    try:
        arguments = shlex.split(words)[len(name.split()) :]
    except ValueError as error:
        return [f"the shell cannot read {line}: {error}"]
    with_others = "..." in arguments  # "and what you gave before"
    arguments = [word for word in arguments if word != "..."]
    try:
        if with_others or not whole:
            arguments += _missing(command, arguments)
        context = command.make_context(name, list(arguments))
    except typer.Exit:
        return []
    except Exception as error:
        if not hasattr(error, "format_message"):  # of the command line: its errors have no name that typer exports
            raise
        return [f"{line}: {error.format_message()}"]
    assignments = context.params.get("settings") or []
    return [f"{line}: {problem}" for assignment in assignments for problem in _set_faults(assignment)]


def _missing(command: Any, arguments: list[str]) -> list[str]:
    """What stands elsewhere: the value of the last option, and the arguments that have to be given."""
    last = [param for param in command.params if arguments and arguments[-1] in param.opts and not param.is_flag]
    added = ["NAME"] if last else []
    context = type(command).context_class(command)
    given, _, _ = command.make_parser(context).parse_args(args=[*arguments, *added])
    for param in command.params:
        if param.required and not isinstance(given.get(param.name), (str, list)):
            added += [param.opts[0], "NAME"] if param.opts[0].startswith("-") else ["NAME"]
    return added


def _is_placeholder(word: str) -> bool:
    return FILLED in word or re.fullmatch(r"[A-Z][A-Z_/.,]*", word) is not None


def _set_faults(assignment: str) -> Iterator[str]:
    from recap.errors import ConfigError
    from recap.overrides import override

    path, equals, value = assignment.partition("=")
    if not equals:
        yield f"--set {assignment}: no '='"
    elif path == FILLED:
        return  # a whole name, handed over by the caller: see the test of those
    elif FILLED in path or "..." in path:
        yield f"--set {assignment}: whoever types it does not know which setting"
    elif _is_placeholder(value):
        if path not in _settings():
            yield f"no setting {path}"
    else:
        try:
            override(_config(), path, value)
        except ConfigError as error:
            yield error.message


def _loose_option_faults(text: str, file: str) -> Iterator[str]:
    from itertools import pairwise

    words = text.replace(",", " ").split()
    yield from (
        problem
        for option, value in pairwise(words)
        if option == "--set"
        for problem in _set_faults(value.rstrip(".;)"))
    )
    options = [option for option in _OPTION.findall(text) if option not in _foreign(text)]
    if not options:
        return
    commands = next((names for place, names in RAISED_BY.items() if file.startswith(place)), None)
    if commands is None:
        yield f"{options[0]} stands alone, and which command raises errors of {file} is not said in RAISED_BY"
        return
    for option in options:
        for name in commands:
            leaf = _leaf(name)
            assert leaf is not None, f"RAISED_BY names no command: {name}"
            if not any(option in (*param.opts, *param.secondary_opts) for param in leaf[1].params):
                yield f"recap {name} has no option {option}"


def _foreign(text: str) -> Iterable[str]:
    """Options of other programs' commands."""
    return re.findall(r"(?:pip|git|apt-get|crontab|ssh|hf)[^,;(]*?(--[a-z-]+)", text)


def _setting_faults(text: str) -> Iterator[str]:
    """Dotted names that are neither a setting, nor something of Python's, nor a file."""
    text = re.sub(r"--[a-z-]+ \S+", " ", text)  # an option with its value
    for name in _DOTTED.findall(text):
        if re.search(r"\.(json|jsonl|md|txt|yaml|zip|py)$", name) or name.startswith("lerobot."):
            continue
        if any(f".{path}".endswith(f".{name}") for path in _settings()) or _is_python(name):
            continue
        yield f"{name} is no setting, module or file"


def _is_python(name: str) -> bool:
    module, _, attribute = name.rpartition(".")
    if module.partition(".")[0] not in {*PACKAGES, *sys.stdlib_module_names}:
        return False
    try:
        return hasattr(importlib.import_module(module), attribute) or importlib.util.find_spec(name) is not None
    except ModuleNotFoundError:
        return False


@cache
def _config() -> Any:
    from pipelines.invocation import Invocation

    return Invocation.of(task="shirt_folding", preset="micro").config()


@cache
def _settings() -> set[str]:
    """Dotted paths of all settings, with every value model."""
    from dataclasses import fields, is_dataclass

    from value_model.models import VALUE_MODELS

    def paths(config: Any, prefix: str) -> Iterator[str]:
        own = (
            config.items()
            if isinstance(config, Mapping)
            else ((f.name, getattr(config, f.name)) for f in fields(config))
        )
        for name, value in own:
            yield f"{prefix}{name}"
            if is_dataclass(value) or isinstance(value, Mapping):
                yield from paths(value, f"{prefix}{name}.")

    found = set(paths(_config(), ""))
    for family in VALUE_MODELS.names():
        found |= set(paths(VALUE_MODELS.get(family).config(), f"values.{family}."))
    return found
