"""Versions of what a recording rests on."""

from __future__ import annotations

from functools import cache
from importlib.metadata import version


def versions(*packages: str) -> dict[str, str]:
    """{package: version} of `packages` and of what every recording rests on."""
    names = {name: name for name in (*packages, "numpy")} | {"recap": "recap-rl"}
    return {name: _version(distribution) for name, distribution in names.items()}


@cache
def _version(distribution: str) -> str:
    """Looked up on the disk once: a process runs what it has imported, whatever is installed meanwhile."""
    return version(distribution)
