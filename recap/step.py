"""What a step is: a function with typed settings, named inputs and outputs, and a version.

Owns the decorator, the records a step sees and returns, and the key that says whether its result is known already.
It must not know how or where steps are run or stored.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from recap.config import semantic_dict
from recap.errors import ConfigError
from recap.hashing import canonical_json, plain_json, sha256_hex
from recap.registry import Registry

if TYPE_CHECKING:
    # protocols imports numpy (0.1 s), which a run of cached steps never needs.
    from recap.protocols import Executor, Journal
    from recap.workspace import Workspace


@dataclass(frozen=True, kw_only=True, slots=True)
class Artifact:
    """A committed output of a step: read-only."""

    name: str
    identity: str
    """sha256 (hex) of the logical content: equal content, equal identity, whoever made it."""
    path: Path
    """A JSON file or a directory."""

    def json(self) -> Any:
        """The value of a JSON output."""
        return json.loads(self.path.read_bytes())


@dataclass(frozen=True, slots=True)
class JsonOutput:
    """A step's output that is a plain JSON value."""

    value: Any


@dataclass(frozen=True, slots=True)
class DirOutput:
    """A step's output that is a directory under `ctx.out` or `ctx.scratch`; it is moved, not copied."""

    path: Path
    identity: str | None = None
    """sha256 (hex) where the step knows it already; else that of the files' logical content."""


Output = JsonOutput | DirOutput
StepFunction = Callable[["StepContext", Any, Mapping[str, Artifact]], Mapping[str, Any]]
StepCheck = Callable[["Workspace", Mapping[str, Artifact]], str]
StepWorld = Callable[[Any], Mapping[str, Any]]


@dataclass(frozen=True, kw_only=True, slots=True)
class StepContext:
    """What a running step has besides its settings and inputs."""

    node: str
    """Name of the step in the graph, e.g. "0/policy"."""
    key: str
    run_name: str
    scratch_dir: Path
    """Where `scratch` lies; made by the first step that asks for it."""
    out: Path
    """Fresh directory for outputs; gone if the step fails."""
    workspace: Workspace
    journal: Journal
    executor_factory: Callable[[], Executor]

    @property
    def scratch(self) -> Path:
        """Survives attempts at the same key: work in progress lies here. Gone once the step is committed."""
        self.scratch_dir.mkdir(exist_ok=True)
        return self.scratch_dir

    @property
    def executor(self) -> Executor:
        """Where work happens. Started by the first step that asks for it, then shared."""
        return self.executor_factory()


@dataclass(frozen=True, kw_only=True, slots=True)
class StepSpec:
    """A registered step."""

    name: str
    version: int
    """Raised by whoever changes what the step outputs; a golden fingerprint of `code` asks for it."""
    config: type[Any] | None
    inputs: tuple[str, ...]
    optional: tuple[str, ...]
    """Inputs that a node may leave out."""
    outputs: tuple[str, ...]
    libraries: tuple[str, ...]
    """Distributions whose major.minor version is part of the key."""
    code: tuple[str, ...]
    """Modules and packages whose source decides the output, besides the step's own module."""
    recorded: bool | Callable[[Any], bool]
    """True, or a function of the config: the step acts on the outside world and is never re-run implicitly."""
    function: StepFunction = field(compare=False)
    check: StepCheck | None = field(default=None, compare=False)
    """Says why a committed result can no longer be used, "" if it can: for outputs that refer to things outside the
    artifact store, such as episodes. None: never asked."""
    world: StepWorld | None = field(default=None, compare=False)
    """What else decides the output besides settings, inputs and code, as JSON: the definition of the task that a
    setting names, for example. Part of the key. None: nothing."""

    def is_recorded(self, config: Any) -> bool:
        """Whether this configuration acts on the outside world."""
        return self.recorded(config) if callable(self.recorded) else self.recorded


STEPS: Registry[StepSpec] = Registry("step", packages=("pipelines.steps",))


def step(
    *,
    name: str,
    version: int,
    outputs: tuple[str, ...],
    config: type[Any] | None = None,
    inputs: tuple[str, ...] = (),
    optional: tuple[str, ...] = (),
    libraries: tuple[str, ...] = (),
    code: tuple[str, ...] = (),
    recorded: bool | Callable[[Any], bool] = False,
    check: StepCheck | None = None,
    world: StepWorld | None = None,
    registry: Registry[StepSpec] = STEPS,
) -> Callable[[StepFunction], StepFunction]:
    """Registers `function(ctx, config, inputs) -> {output: JsonOutput | DirOutput}` and returns it unchanged.

    Raises:
        ConfigError: a name that cannot be part of a path, or a name given twice.
    """
    from recap.workspace import check_name

    check_name("step", name)
    for kind, names in (("input", inputs + optional), ("output", outputs)):
        for one in names:
            check_name(kind, one)
        if len(set(names)) != len(names):
            raise ConfigError(f"step '{name}' names an {kind} twice: {', '.join(names)}")
    if not outputs:
        raise ConfigError(f"step '{name}' has no outputs: expected at least one")

    def register(function: StepFunction) -> StepFunction:
        spec = StepSpec(
            name=name,
            version=version,
            config=config,
            inputs=inputs,
            optional=optional,
            outputs=outputs,
            libraries=libraries,
            code=code,
            recorded=recorded,
            function=function,
            check=check,
            world=world,
        )
        registry.add(name, spec)
        return function

    return register


def key_facts(
    spec: StepSpec,
    config: Any,
    identities: Mapping[str, str],
    *,
    contents: Mapping[str, str] | None = None,
    run_name: str = "",
    node: str = "",
) -> dict[str, Any]:
    """Everything that decides a step's result, as JSON: what its key is the hash of.

    Args:
        spec: the step.
        config: its settings, of type spec.config.
        identities: {input: identity} of the inputs given.
        contents: {setting: identity} of the files that settings point at (recap.contents).
        run_name: run and node name a recorded step's result, which no settings could bring back.
        node: see run_name.
    """
    facts: dict[str, Any] = {
        "step": spec.name,
        "version": spec.version,
        "config": None if config is None else semantic_dict(config),
        "inputs": dict(identities),
        "libraries": {library: library_version(library) for library in spec.libraries},
    }
    if spec.world is not None:
        facts["world"] = plain_json(dict(spec.world(config)), where=f"world of step '{spec.name}'")
    if contents:
        facts["contents"] = dict(contents)
    if spec.is_recorded(config):
        facts["recorded"] = [run_name, node]
    return facts


def key_of(facts: Mapping[str, Any]) -> str:
    """sha256 (hex) of `key_facts`."""
    return sha256_hex(canonical_json(facts))


@cache
def library_version(library: str) -> str:
    """major.minor of an installed distribution.

    Raises:
        ConfigError: it is not installed.
    """
    from importlib.metadata import PackageNotFoundError, version

    try:
        return ".".join(version(library).split(".")[:2])
    except PackageNotFoundError:
        raise ConfigError(f"library '{library}' is not installed", hint=f"pip install {library}") from None
