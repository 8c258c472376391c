"""Toy steps: every kind of output that the engine knows, JSON, a directory moved from scratch, one made under ctx.out.

A module of its own beside the tests: the code of a plug-in's step is that of its whole package.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from recap.config import setting, validate
from recap.graph import Graph
from recap.registry import Registry
from recap.step import Artifact, DirOutput, JsonOutput, Output, StepContext, StepSpec, step

TOY_STEPS: Registry[StepSpec] = Registry("toy_step")


@dataclass(frozen=True, kw_only=True, slots=True)
class NumbersConfig:
    """Settings of the toy step `numbers`."""

    count: int = setting(4, minimum=1, maximum=1000)
    seed: int = setting(0, minimum=0)
    workers: int = setting(1, minimum=1, semantic=False)

    def __post_init__(self) -> None:
        validate(self)


@dataclass(frozen=True, kw_only=True, slots=True)
class ScaleConfig:
    """Settings of the toy step `scale`."""

    factor: float = setting(2.0, above=0.0)
    clip: float | None = setting(None)
    numbers: NumbersConfig = field(default_factory=NumbersConfig)

    def __post_init__(self) -> None:
        validate(self)


@step(name="numbers", version=1, config=NumbersConfig, outputs=("numbers",), registry=TOY_STEPS)
def numbers(ctx: StepContext, config: NumbersConfig, inputs: Mapping[str, Artifact]) -> Mapping[str, Output]:
    """A list of whole numbers."""
    return {"numbers": JsonOutput([(config.seed * 31 + i * i) % 97 for i in range(config.count)])}


@step(name="scale", version=1, config=ScaleConfig, inputs=("numbers",), outputs=("model", "sum"), registry=TOY_STEPS)
def scale(ctx: StepContext, config: ScaleConfig, inputs: Mapping[str, Artifact]) -> Mapping[str, Output]:
    """A directory built file by file in scratch, surviving kills, and the sum of what is in it."""
    model = ctx.scratch / "model"
    model.mkdir(exist_ok=True)
    scaled = [config.factor * number for number in inputs["numbers"].json()]
    for index, number in enumerate(scaled):
        part = model / f"{index:04d}.txt"
        if not part.exists():
            part.write_text(repr(number))
    return {"model": DirOutput(model), "sum": JsonOutput(sum(scaled))}


@step(name="parity", version=1, inputs=("sum",), optional=("limit",), outputs=("parity",), registry=TOY_STEPS)
def parity(ctx: StepContext, config: None, inputs: Mapping[str, Artifact]) -> Mapping[str, Output]:
    """Whether the sum is even: different sums often give the same output, so what follows is often cached."""
    limit = inputs["limit"].json() if "limit" in inputs else None
    return {"parity": JsonOutput({"even": inputs["sum"].json() % 2 == 0, "limit": limit})}


@step(name="report", version=1, inputs=("parity", "model"), outputs=("page",), registry=TOY_STEPS)
def report(ctx: StepContext, config: None, inputs: Mapping[str, Artifact]) -> Mapping[str, Output]:
    """A directory written under ctx.out."""
    page = ctx.out / "page"
    page.mkdir()
    count = len(list(inputs["model"].path.iterdir()))
    (page / "index.html").write_text(f"{count} parts, {inputs['parity'].json()}")
    return {"page": DirOutput(page)}


def toy_graph(
    *, count: int = 4, seed: int = 0, factor: float = 2.0, workers: int = 1, steps: Registry[StepSpec] = TOY_STEPS
) -> Graph:
    """The chain numbers -> scale -> parity -> report, with a constant."""
    graph = Graph(steps=steps)
    made = graph.add("0/numbers", "numbers", NumbersConfig(count=count, seed=seed, workers=workers))
    scaled = graph.add("0/scale", "scale", ScaleConfig(factor=factor), numbers=made["numbers"])
    limit = graph.constant("limit", {"limit": 10})
    judged = graph.add("0/parity", "parity", None, sum=scaled["sum"], limit=limit)
    graph.add("0/report", "report", None, parity=judged["parity"], model=scaled["model"])
    return graph
