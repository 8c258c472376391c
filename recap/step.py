"""What a step is: a function with typed settings, typed facts, named inputs and outputs, and a version.

Owns the decorator, the records a step sees and returns, and the key that says whether its result is known already.
It must not know how or where steps are run or stored.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from recap.config import from_json, semantic_dict, to_json
from recap.errors import ConfigError
from recap.hashing import canonical_json, plain_json, sha256_hex
from recap.registry import Registry

if TYPE_CHECKING:
    # protocols imports numpy (0.1 s), which a run of cached steps never needs.
    from recap.protocols import Executor, Journal
    from recap.workspace import Workspace

OutputT = TypeVar("OutputT")


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

    def read(self, output_class: type[OutputT]) -> OutputT:
        """A JSON output as the class that its step wrote (see `JsonOutput.of`).

        Raises:
            ConfigError: it is of another form, of an older recap for example.
        """
        try:
            return from_json(output_class, self.json())
        except ConfigError as error:
            raise ConfigError(
                f"{self.path}: not what this recap writes as '{self.name}': {error.message}",
                hint="recap resume   (runs it again; a report of an old run is made by the version that ran it)",
            ) from error


@dataclass(frozen=True, slots=True)
class JsonOutput:
    """A step's output that is a plain JSON value."""

    value: Any

    @classmethod
    def of(cls, output: Any) -> JsonOutput:
        """A typed output, a frozen dataclass; `Artifact.read` gives it back."""
        return cls(to_json(output))


@dataclass(frozen=True, slots=True)
class DirOutput:
    """A step's output that is a directory under `ctx.out` or `ctx.scratch`; it is moved, not copied."""

    path: Path
    identity: str | None = None
    """sha256 (hex) where the step knows it already; else that of the files' logical content."""


Output = JsonOutput | DirOutput
StepFunction = Callable[..., Mapping[str, Any]]
StepCheck = Callable[["Workspace", Mapping[str, Artifact]], str]
KeyContext = Callable[[Any], Mapping[str, Any]]


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
    config: Any
    """Class, or union of classes, of its settings: what a person may set. None: it has none."""
    facts: type[Any] | None
    """Class of what the graph derives for it: tasks, seeds, look-aheads. Part of the key as settings are, and set by
    nobody. None: nothing."""
    inputs: tuple[str, ...]
    optional: tuple[str, ...]
    """Inputs that a node may leave out."""
    several: tuple[str, ...]
    """Inputs that are any number of outputs, each with a name of its own: "values" is given as "values/viva", ..."""
    outputs: tuple[str, ...]
    libraries: tuple[str, ...]
    """Distributions whose major.minor version is part of the key."""
    recorded: bool | Callable[[Any], bool]
    """True, or a function of the config: the step acts on the outside world and is never re-run implicitly."""
    function: StepFunction = field(compare=False)
    check: StepCheck | None = field(default=None, compare=False)
    """Says why a committed result can no longer be used, "" if it can: for outputs that refer to things outside the
    artifact store, such as episodes. None: never asked."""
    context: KeyContext | None = field(default=None, compare=False)
    """Of the facts, what else decides the output, as JSON: the definition of the tasks that they name, for example.
    Part of the key. None: nothing."""

    def is_recorded(self, config: Any) -> bool:
        """Whether this configuration acts on the outside world."""
        return self.recorded(config) if callable(self.recorded) else self.recorded


STEPS: Registry[StepSpec] = Registry("step", packages=("pipelines.steps",))


def step(
    *,
    name: str,
    version: int,
    outputs: tuple[str, ...],
    config: Any = None,
    facts: type[Any] | None = None,
    inputs: tuple[str, ...] = (),
    optional: tuple[str, ...] = (),
    several: tuple[str, ...] = (),
    libraries: tuple[str, ...] = (),
    recorded: bool | Callable[[Any], bool] = False,
    check: StepCheck | None = None,
    context: KeyContext | None = None,
    registry: Registry[StepSpec] = STEPS,
) -> Callable[[StepFunction], StepFunction]:
    """Registers `function(ctx, config, inputs) -> {output: JsonOutput | DirOutput}` and returns it unchanged.

    With `facts` the function is called (ctx, config, facts, inputs).

    Raises:
        ConfigError: a name that cannot be part of a path, or a name given twice.
    """
    from recap.workspace import check_name

    check_name("step", name)
    for kind, names in (("input", inputs + optional + several), ("output", outputs)):
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
            facts=facts,
            inputs=inputs,
            optional=optional,
            several=several,
            outputs=outputs,
            libraries=libraries,
            recorded=recorded,
            function=function,
            check=check,
            context=context,
        )
        registry.add(name, spec)
        return function

    return register


def key_facts(
    spec: StepSpec,
    config: Any,
    identities: Mapping[str, str],
    *,
    facts: Any = None,
    contents: Mapping[str, str] | None = None,
    code: str = "",
    run_name: str = "",
    node: str = "",
) -> dict[str, Any]:
    """Everything that decides a step's result, as JSON: what its key is the hash of.

    Args:
        spec: the step.
        config: its settings, of type spec.config.
        identities: {input: identity} of the inputs given.
        facts: what the graph derived, of type spec.facts.
        contents: {setting: identity} of the files that settings point at (recap.contents).
        code: fingerprint of code that nobody has accepted yet (recap.code); "" for a step as it was released.
        run_name: run and node name a recorded step's result, which no settings could bring back.
        node: see run_name.
    """
    found: dict[str, Any] = {
        "step": spec.name,
        "version": spec.version,
        "config": None if config is None else semantic_dict(config) | _class_of(spec, config),
        "inputs": dict(identities),
        "libraries": {library: library_version(library) for library in spec.libraries},
    }
    if facts is not None:
        found["facts"] = semantic_dict(facts)
    if spec.context is not None:
        found["context"] = plain_json(dict(spec.context(facts)), where=f"key context of step '{spec.name}'")
    if contents:
        found["contents"] = dict(contents)
    if code:
        found["code"] = code
    if spec.is_recorded(config):
        found["recorded"] = [run_name, node]
    return found


def _class_of(spec: StepSpec, config: Any) -> dict[str, str]:
    """The class of the settings, where the step takes several: two of equal fields must not look alike."""
    return {} if spec.config is type(config) else {"type": type(config).__name__}


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
