"""The commands and examples of the pages, as they stand there: taken out, filled in, read against the command line."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import typer

ROOT = Path(__file__).parents[2]
PAGES = ("README.md", "CONTRIBUTING.md", *sorted(f"docs/{path.name}" for path in (ROOT / "docs").glob("*.md")))
_COMMAND = re.compile(r"(?:\.\w+/\S*/)?(?:recap|make|mlflow)\s")


@dataclass(frozen=True, slots=True)
class Block:
    """An indented or fenced block."""

    page: str
    line: int
    text: str

    @property
    def first(self) -> str:
        """What it is known by in the tables of the tests."""
        return self.text.splitlines()[0].strip()

    @property
    def commands(self) -> list[str]:
        """Its lines, without remarks and with what goes on in the next line joined, if the first is a command."""
        joined = re.sub(r"\s*\\\n\s*", " ", self.text)
        lines = [re.split(r"\s{2,}#|^#", line)[0].strip() for line in joined.splitlines()]
        return [line for line in lines if _COMMAND.match(f"{line} ")]


def blocks(page: str) -> list[Block]:
    """Every block of a page, in order."""
    lines = (ROOT / page).read_text().splitlines()
    found: list[Block] = []
    at = 0
    while at < len(lines):
        begin = at
        if lines[at].startswith("```"):
            at = next(i for i in range(at + 1, len(lines)) if lines[i].startswith("```"))
            found.append(Block(page, begin + 1, "\n".join(lines[begin + 1 : at])))
        elif lines[at].startswith("    "):
            while at < len(lines) and (not lines[at] or lines[at].startswith("    ")):
                at += 1
            text = "\n".join(line[4:] for line in lines[begin:at]).rstrip()
            # What follows an item of a list is its second line.
            if not lines[begin - 1].startswith(("- ", "  ")):
                found.append(Block(page, begin + 1, text))
            continue
        at += 1
    return found


def spoken(page: str) -> Iterator[tuple[int, str]]:
    """(line, command) of every command in the running text and the tables of a page."""
    fenced = False
    for number, line in enumerate((ROOT / page).read_text().splitlines(), start=1):
        fenced ^= line.startswith("```")
        if fenced or line.startswith(("    ", "```")):
            continue
        for text in re.findall(r"`([^`]+)`", line):
            if _COMMAND.match(text) and not text.endswith("/"):
                first, *others = text.replace("\\|", "|").split(" | ")
                yield number, first
                # `recap data verify | repair`: another command of the same group.
                yield from ((number, f"{first.rpartition(' ')[0]} {other}") for other in others)


def filled(line: str, values: Mapping[str, str]) -> str:
    """A usage line as somebody types it: all that is optional, the first of alternatives, placeholders by `values`."""
    words = []
    for word in line.replace("[", " ").replace("]", " ").split():
        plain = word.split("|")[0]
        if plain != "..." or words[-1] == "--set":  # else: and so on
            words.append(values.get(plain, plain))
    return " ".join(words)


def required(line: str) -> str:
    """A usage line without what is optional."""
    return re.sub(r"\s*\[[^]]*\]", "", line)


def fault(line: str) -> str:
    """Why a filled-in command could not be typed; "" if it could: its options, settings and make targets are there."""
    words = shlex.split(line)
    if words[0] == "make":
        known = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
        return "; ".join(f"no make target {word}" for word in words[1:] if word not in known)
    if words[0].endswith("mlflow"):
        return ""
    command: Any = typer.main.get_command(_app())
    name = words.pop(0)
    while words and words[0] in getattr(command, "commands", {}):
        name = words.pop(0)
        command = command.commands[name]
    if hasattr(command, "commands") and words != ["--help"]:
        return f"no command: {line}"
    try:
        command.make_context(name, words)
    except typer.Exit:
        return ""
    except Exception as error:
        if not hasattr(error, "format_message"):  # of the command line: its errors have no name that typer exports
            raise
        return f"{line}: {error.format_message()}"
    return ""


def _app() -> Any:
    from cli.main import app

    return app
