"""Somebody who follows a page of the documentation, and what its placeholders stand for."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from docs_pages import ROOT, Block, filled

from data.episodes import EpisodeStore

RUN = "shirt_folding-micro"
PLACEHOLDERS = {
    "T": "shirt_folding",
    "T,U,V": "shirt_folding,box_assembly,toilet_paper_organization",
    "DIR": "somewhere",
    "NAME": RUN,
    "RUN": RUN,
    "R": RUN,
    "ID": "0123",
    "FILE": "some.yaml",
    "BUNDLE": "some",
    "POLICY": RUN,
    "AGAINST": RUN,
    "W": "runs",
    "P": "micro",
    "K": "2",
    "N": "1",
    "...": "workers=1",
}
CRONTAB = """#!/bin/sh
table=$(dirname "$0")/table
case "$1" in
  -l) if [ -e "$table" ]; then cat "$table"; else echo "no crontab for tester" >&2; exit 1; fi ;;
  -) cat > "$table" ;;
esac
"""


@dataclass
class Reader:
    """Somebody who follows a page in a folder: `recap` is on the path, and so is a crontab of their own."""

    folder: Path
    environment: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.bin = self.folder / "bin"
        self.bin.mkdir(parents=True)
        (self.bin / "crontab").write_text(CRONTAB)
        (self.bin / "crontab").chmod(0o755)
        path = os.pathsep.join([str(self.bin), str(Path(sys.executable).parent), os.environ["PATH"]])
        self.environment = {**os.environ, "PATH": path, "OMP_NUM_THREADS": "1", "RECAP_TASKS": ""}

    def types(self, line: str, *, expect: int = 0) -> str:
        """What a line answers."""
        done = subprocess.run(
            ["sh", "-c", line],
            cwd=self.folder,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        assert done.returncode == expect, f"{line}\n{done.stdout}{done.stderr}"
        return done.stdout + done.stderr

    def python(self, source: str) -> str:
        """What a program prints."""
        (self.folder / "example.py").write_text(source)
        self.environment["PYTHONPATH"] = str(ROOT)
        return self.types(f"{sys.executable} -W ignore example.py")

    def needs_a_run(self, finished: Path) -> None:
        shutil.copytree(finished, self.folder / "runs", symlinks=True)

    @property
    def store(self) -> EpisodeStore:
        return EpisodeStore(self.folder / "runs" / "episodes")


Handler = Callable[[Reader, Block], None]


def lines(*extra: str, values: dict[str, str] | None = None) -> Handler:
    """Types every line of a block, all that is optional included; `extra` is added to the lines in turn."""

    def handler(reader: Reader, block: Block) -> None:
        assert len(extra) in (0, len(block.commands))
        for line, more in zip(block.commands, extra or ("",) * len(block.commands), strict=True):
            reader.types(f"{filled(line, {**PLACEHOLDERS, **(values or {})})} {more}")

    return handler
