"""Which code a step's result rests on: its own module and everything that it imports, followed to the end.

`accepted_code.json` says {step: {version, fingerprint}} of the code as it was released. A step of just that code has
its version in its key and nothing else, so that an update which changes no output repeats no work. Code that differs
and that nobody has accepted yet is part of the key: the step runs again. `make accept-golden` accepts it, after the
version was raised where outputs differ. A plug-in's code is accepted by nobody and always in the key.

Followed are imports at the top and within functions, and the packages that a registry discovers. Not followed is the
engine, which decides when a step runs and not what comes of it, nor any library, whose version a step names itself.
"""

from __future__ import annotations

import ast
import importlib.util
import json
import sys
from collections.abc import Iterator, Mapping
from dataclasses import fields, is_dataclass
from functools import cache
from pathlib import Path
from typing import Any

from recap.errors import ConfigError
from recap.files import write_atomic
from recap.hashing import canonical_json, sha256_hex
from recap.registry import Registry
from recap.step import STEPS, StepSpec
from recap.workspace import Workspace

ROOTS = ("recap", "data", "value_model", "policy", "pipelines", "cli")
"""Our own top-level packages."""
_DECIDING = ("recap.training", "recap.stats", "recap.gate", "recap.types", "recap.specs", "recap.hashing")
"""Of `recap`, what results depend on; the rest is the engine."""
ACCEPTED = Path(__file__).with_name("accepted_code.json")
ACCEPT = "make accept-golden"


class Code:
    """Fingerprints of the code of steps, remembered in a workspace beside the times of the files they were read from.

    Args:
        workspace: where they are remembered.
        remember: False to write nothing, for readers that must not change the workspace.
    """

    def __init__(self, workspace: Workspace, *, remember: bool = True) -> None:
        self._file = workspace.cache / "code.json"
        self._remember = remember

    def unaccepted(self, spec: StepSpec, config: Any, facts: Any = None) -> str:
        """Fingerprint of the code of a step, and of plug-ins named by its settings and facts, that nobody has accepted.

        "" of none. A plug-in's code is that of its whole package: the module of its settings imports little of it.
        """
        accepted = _accepted().get(spec.name)
        own = self._fingerprint(spec.function.__module__)
        parts = [] if accepted == {"version": spec.version, "fingerprint": own} else [own]
        packages = {module.partition(".")[0] for module in (*_plugins(config), *_plugins(facts))}
        parts += [self._fingerprint(f"{package}.*") for package in sorted(packages)]
        return sha256_hex("\n".join(parts).encode()) if parts else ""

    def _fingerprint(self, module: str) -> str:
        """Of a module, or with `.*` behind it of a whole package."""
        if module not in _known:
            package = module.partition(".")[0]
            stamp = _stamp(package)
            try:
                remembered: dict[str, Any] = json.loads(self._file.read_bytes())
            except (FileNotFoundError, ValueError):
                # A memory of what was read, nothing more: absent or torn, the files are read again.
                remembered = {}
            entry = remembered.get(module)
            if entry is None or entry["stamp"] != stamp:
                modules = _files(package) if module.endswith(".*") else (module,)
                entry = {"stamp": stamp, "fingerprint": code_fingerprint(*modules)}
                if self._remember:
                    write_atomic(self._file, json.dumps({**remembered, module: entry}).encode(), durable=False)
            _known[module] = entry["fingerprint"]
        return _known[module]


_known: dict[str, str] = {}
"""{module: fingerprint}: a process runs what it has imported, whatever is changed on disk meanwhile."""


def code_fingerprint(*modules: str) -> str:
    """sha256 (hex) over the normalised source of modules and of every module that they rest on."""
    return sha256_hex("\n".join(f"{name}\n{_source(name)[0]}" for name in sorted(code_of(*modules))).encode())


def code_of(*modules: str) -> set[str]:
    """Names of the modules that `modules` rest on, themselves among them."""
    roots = {*ROOTS, *(module.partition(".")[0] for module in modules)}
    found: set[str] = set()
    waiting = [*modules]
    while waiting:
        name = waiting.pop()
        if name in found or name.partition(".")[0] not in roots or _is_engine(name) or _path(name) is None:
            continue
        found.add(name)
        waiting += _source(name)[1]
    return found


def _is_engine(name: str) -> bool:
    return name.startswith(("recap.", "cli.")) and not any(
        name == part or name.startswith(f"{part}.") for part in _DECIDING
    )


def normalised_source(source: str) -> str:
    """The syntax tree as text, without docstrings, comments, positions; equal for equal programs on any Python."""
    return _spelled(ast.parse(source))


def golden_of(registry: Registry[StepSpec] = STEPS) -> dict[str, dict[str, Any]]:
    """{step: {version, fingerprint}} of all registered steps, as `accepted_code.json` should say."""
    specs = [registry.get(name) for name in registry.names()]
    return {
        spec.name: {"version": spec.version, "fingerprint": code_fingerprint(spec.function.__module__)}
        for spec in specs
    }


def problems_of(accepted: Mapping[str, Any], current: Mapping[str, Any]) -> list[str]:
    """What the accepted code and the code disagree on, each with what to do; empty if they agree."""
    problems = [f"{name}: accepted but no longer a step; {ACCEPT}" for name in accepted if name not in current]
    for name, found in current.items():
        old = accepted.get(name)
        if old is None:
            problems.append(f"{name}: its code was never accepted; {ACCEPT}")
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


def accept(path: Path = ACCEPTED, registry: Registry[StepSpec] = STEPS) -> list[str]:
    """Accepts the code as it is; returns the problems this settles.

    Raises:
        ConfigError: a version went back: old results would be taken for new ones.
    """
    current = golden_of(registry)
    problems = problems_of(json.loads(path.read_text()) if path.exists() else {}, current)
    backwards = [problem for problem in problems if "went back" in problem]
    if backwards:
        raise ConfigError("; ".join(backwards))
    write_atomic(path, (json.dumps(current, indent=2, sort_keys=True) + "\n").encode())
    return problems


@cache
def _accepted() -> dict[str, Any]:
    accepted: dict[str, Any] = json.loads(ACCEPTED.read_text())
    return accepted


def is_plugin(config: Any) -> bool:
    """Whether settings are of a class that is none of ours."""
    return type(config).__module__.partition(".")[0] not in ROOTS


def _plugins(config: Any) -> Iterator[str]:
    """Modules of the classes of settings that are none of ours."""
    if is_dataclass(config):
        if is_plugin(config):
            yield type(config).__module__
        for item in fields(config):
            yield from _plugins(getattr(config, item.name))
    elif isinstance(config, Mapping):
        for value in config.values():
            yield from _plugins(value)


def _path(name: str) -> Path | None:
    """The file of a module or package; None if it has none (a namespace, a builtin)."""
    return _files(name.partition(".")[0]).get(name)


@cache
def _files(top: str) -> dict[str, Path]:
    """{module: its file} of everything in the package `top`, or of `top` alone if it is one module."""
    loaded = getattr(sys.modules.get(top), "__file__", None)
    found = None if loaded is not None else importlib.util.find_spec(top)
    file = loaded if found is None else found.origin
    if file is not None and Path(file).name != "__init__.py":
        return {top: Path(file)}
    folders = [Path(file).parent] if file is not None else [*((found and found.submodule_search_locations) or ())]
    files: dict[str, Path] = {}
    for folder in map(Path, folders):
        # Sorted, a package stands before a module of its name, as it does for Python.
        for path in sorted(folder.rglob("*.py")):
            parts = (top, *path.relative_to(folder).with_suffix("").parts)
            files.setdefault(".".join(parts[:-1] if parts[-1] == "__init__" else parts), path)
    return files


@cache
def _source(name: str) -> tuple[str, tuple[str, ...]]:
    """(normalised source, modules that it may import) of a module."""
    path = _path(name)
    assert path is not None, "asked for modules that are there"
    text = path.read_text(encoding="utf-8")
    tree = ast.parse(text)
    package = name if path.name == "__init__.py" else name.rpartition(".")[0]
    return _spelled(tree), tuple(dict.fromkeys(_imports(tree, package, discovers="packages" in text)))


def _imports(tree: ast.AST, package: str, *, discovers: bool) -> Iterator[str]:
    """Modules that a syntax tree imports when it runs, with those that a registry in it discovers, if one does."""
    waiting = [tree]
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.expr) and not discovers:
            continue  # nine nodes of ten, and imports are statements
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            continue
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield from _with_parents(alias.name)
        elif isinstance(node, ast.ImportFrom):
            above = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
            base = ".".join([*above, *([node.module] if node.module else [])])
            yield from _with_parents(base)
            # `from a import b` may name a module.
            yield from (f"{base}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.keyword) and node.arg == "packages" and isinstance(node.value, ast.Tuple):
            for item in node.value.elts:
                if isinstance(item, ast.Constant) and isinstance(item.value, str):
                    yield from _members(item.value)
        waiting += ast.iter_child_nodes(node)


def _with_parents(name: str) -> Iterator[str]:
    """A module and the packages around it, whose code runs first."""
    parts = name.split(".")
    yield from (".".join(parts[: count + 1]) for count in range(len(parts)))


def _members(package: str) -> Iterator[str]:
    """A package and the modules and packages right in it."""
    inside = f"{package}."
    for name in _files(package.partition(".")[0]):
        if name == package or (name.startswith(inside) and "." not in name.removeprefix(inside)):
            yield name


@cache
def _stamp(top: str) -> str:
    """Names, sizes and times of every file that a module of the package `top` could rest on."""
    seen = []
    for name in sorted({*ROOTS, top}):
        for file in _files(name).values():
            stat = file.stat()
            seen.append([str(file), stat.st_size, stat.st_mtime_ns])
    return sha256_hex(canonical_json(seen))


def _spelled(node: Any) -> str:
    """Like ast.dump without docstrings; empty fields are left out on every version of Python."""
    if isinstance(node, list):
        return "[" + ",".join([_spelled(item) for item in node]) + "]"
    if not isinstance(node, ast.AST):
        return repr(node)
    inner = []
    for name in node._fields:
        value: Any = getattr(node, name, None)
        if name == "body" and isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)):
            # A string that stands alone does nothing, wherever it stands: field docstrings included.
            value = [item for item in value if not (type(item) is ast.Expr and _is_text(item))]
        if value is not None and value != []:
            inner.append(f"{name}={_spelled(value)}")
    return f"{type(node).__name__}({','.join(inner)})"


def _is_text(node: ast.Expr) -> bool:
    return isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)


if __name__ == "__main__":
    for line in accept() or ["nothing to accept"]:
        sys.stdout.write(f"{line}\n")
