"""Guards recap's top-level names: `data`, `policy`, `cli`, ... are words that other projects use too.

Owns the list of names and the check that each is recap's own. Stdlib and recap.errors only; imports nothing it checks.
"""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import recap
from recap.errors import LayoutError

ROOT_PACKAGES = ("recap", "data", "value_model", "policy", "pipelines", "cli")


def project_root() -> Path:
    """The directory that holds recap's packages: a checkout, or site-packages."""
    return Path(str(recap.__file__)).resolve().parent.parent


def check_roots() -> None:
    """Does nothing if every top-level package is recap's own; about 0.1 ms each, nothing is imported.

    Raises:
        LayoutError: names the foreign file that an `import data` (or `policy`, ...) would find first.
    """
    root = project_root()
    for name in ROOT_PACKAGES:
        places = _places(name)
        if not places:
            raise LayoutError(
                f"recap's package '{name}' is not installed beside {root / 'recap'}", hint="pip install recap-rl"
            )
        foreign = [place for place in places if place.parent != root]
        if foreign:
            raise LayoutError(
                f"`import {name}` finds {foreign[0]}, which is not recap's own {root / name}",
                hint=f"rename {foreign[0]}, or take {foreign[0].parent} off PYTHONPATH / sys.path",
            )


def _places(name: str) -> list[Path]:
    """Where `import name` leads: the directories of a package, or the file of a module."""
    module = sys.modules.get(name)
    spec = importlib.util.find_spec(name) if module is None else module.__spec__
    if spec is None:
        return []
    if spec.submodule_search_locations is not None:
        return [Path(place).resolve() for place in spec.submodule_search_locations]
    return [Path(str(spec.origin)).resolve()]
