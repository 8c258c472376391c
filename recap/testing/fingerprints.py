"""Whether the code of a step changed without its version: golden fingerprints of source, blind to comments.

The golden file says {step: {version, fingerprint}}. When code of a step changes, the check fails until its version is
raised (outputs differ: old results must not be reused) or the change is accepted as output-neutral by
`python -m recap.testing.accept_golden`. Both end in a new golden file, whose diff a reviewer sees.
"""

from __future__ import annotations

import ast
import importlib.util
import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from recap.errors import ConfigError
from recap.hashing import sha256_hex
from recap.registry import Registry
from recap.step import STEPS, StepSpec
from recap.workspace import write_atomic

ACCEPT = "python -m recap.testing.accept_golden"


def code_fingerprint(spec: StepSpec) -> str:
    """sha256 (hex) over the normalised source of the step's own module and everything named in spec.code.

    A package stands for all modules below it. Nothing is imported but top-level packages.

    Raises:
        ConfigError: a module named there does not exist.
    """
    parts = []
    for module in sorted({spec.function.__module__, *spec.code}):
        parts += [f"{name}\n{normalised_source(path.read_text())}" for name, path in _sources(module, spec.name)]
    return sha256_hex("\n".join(parts).encode())


def normalised_source(source: str) -> str:
    """The syntax tree as text, without docstrings, comments, positions; equal for equal programs on any Python."""
    tree = ast.parse(source)
    for node in ast.walk(tree):
        if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)):
            # A string that stands alone does nothing, wherever it stands: field docstrings included.
            node.body = [child for child in node.body if not _is_text(child)]
    return _spelled(tree)


def golden_of(registry: Registry[StepSpec] = STEPS) -> dict[str, dict[str, Any]]:
    """{step: {version, fingerprint}} of all registered steps, as the golden file should say."""
    specs = [registry.get(name) for name in registry.names()]
    return {spec.name: {"version": spec.version, "fingerprint": code_fingerprint(spec)} for spec in specs}


def fingerprint_problems(golden: Mapping[str, Any], current: Mapping[str, Any]) -> list[str]:
    """What the golden file and the code disagree on, each with what to do; empty if they agree."""
    problems = [f"{name}: in the golden file but no longer a step; {ACCEPT}" for name in golden if name not in current]
    for name, found in current.items():
        old = golden.get(name)
        if old is None:
            problems.append(f"{name}: not in the golden file; {ACCEPT}")
        elif found["version"] < old["version"]:
            problems.append(f"{name}: version went back from {old['version']} to {found['version']}; raise it")
        elif found["version"] > old["version"]:
            problems.append(f"{name}: version {old['version']} -> {found['version']}; {ACCEPT}")
        elif found["fingerprint"] != old["fingerprint"]:
            problems.append(
                f"{name}: its code changed and its version ({found['version']}) did not: raise the version if outputs "
                f"can differ, then (or if they cannot) {ACCEPT}"
            )
    return problems


def read_golden(path: Path) -> dict[str, Any]:
    """The golden file; empty if there is none."""
    if not path.exists():
        return {}
    golden: dict[str, Any] = json.loads(path.read_text())
    return golden


def accept(path: Path, registry: Registry[StepSpec] = STEPS) -> list[str]:
    """Writes the golden file from the code as it is; returns the problems this settles.

    Raises:
        ConfigError: a version went back: old results would be taken for new ones.
    """
    current = golden_of(registry)
    problems = fingerprint_problems(read_golden(path), current)
    backwards = [problem for problem in problems if "went back" in problem]
    if backwards:
        raise ConfigError("; ".join(backwards))
    write_atomic(path, (json.dumps(current, indent=2, sort_keys=True) + "\n").encode())
    return problems


def _sources(module: str, step: str) -> Iterator[tuple[str, Path]]:
    """(name, file) of a module, or of every module below a package, without importing any but the top level."""
    top, *rest = module.split(".")
    found = importlib.util.find_spec(top)
    if found is None or found.origin is None:
        raise ConfigError(f"step '{step}' names the code module '{module}': no package '{top}'")
    base = Path(found.origin).parent if found.submodule_search_locations else Path(found.origin)
    place = base.joinpath(*rest) if rest else base
    if place.is_dir():
        for path in sorted(place.rglob("*.py")):
            yield f"{module}:{path.relative_to(place).as_posix()}", path
        return
    path = place if place.is_file() else place.with_name(f"{place.name}.py")
    if not path.is_file():
        raise ConfigError(f"step '{step}' names the code module '{module}': no file {path}")
    yield module, path


def _is_text(node: ast.stmt) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)


def _spelled(node: Any) -> str:
    """Like ast.dump, but empty fields are left out on every version of Python."""
    if isinstance(node, ast.AST):
        fields: Iterable[tuple[str, Any]] = ast.iter_fields(node)
        inner = ",".join(f"{name}={_spelled(value)}" for name, value in fields if value is not None and value != [])
        return f"{type(node).__name__}({inner})"
    if isinstance(node, list):
        return "[" + ",".join(map(_spelled, node)) + "]"
    return repr(node)
