"""open_loop_eval: the chosen policy acts on recorded observations; its actions are compared with those recorded.

Composition only; the figures stand in `worker.py`. It is no evaluation of success, and says so.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from pipelines.facts import ComputeFacts, task_context
from pipelines.steps.open_loop_eval.outputs import OpenLoopEval
from recap.config import setting, validate
from recap.step import Artifact, JsonOutput, StepContext, step


@dataclass(frozen=True, kw_only=True, slots=True)
class OpenLoopEvalConfig:
    """Settings of one open-loop evaluation."""

    frames: int = setting(100, minimum=1, maximum=1_000_000, help="frames of each kind: demos, positive, negative")
    seed: int = setting(0, minimum=0, help="of the choice of frames and of the policy's inference noise")
    margin: float = setting(
        0.05, minimum=0, maximum=10, help="fraction of the recorded action range that actions may lie beyond it"
    )

    def __post_init__(self) -> None:
        validate(self)


@step(
    name="open_loop_eval",
    version=1,
    config=OpenLoopEvalConfig,
    facts=ComputeFacts,
    inputs=("policy", "experience"),
    optional=("labels",),
    outputs=("open_loop",),
    libraries=("torch", "numpy"),
    context=task_context("prompt", robot=True),
)
def open_loop_eval(
    ctx: StepContext, config: OpenLoopEvalConfig, facts: ComputeFacts, inputs: Mapping[str, Artifact]
) -> Mapping[str, JsonOutput]:
    """Outputs the figures (OpenLoopEval); `labels` says which frames are positive and which episodes are used.

    Raises:
        HealthError: the policy gives actions that no robot may be sent.
    """
    from pipelines.steps.open_loop_eval.worker import evaluate_open_loop

    found: OpenLoopEval = ctx.executor.call(
        "evaluator",
        evaluate_open_loop,
        (
            config,
            facts,
            inputs["experience"].json(),
            inputs["policy"].path,
            inputs["labels"].path if "labels" in inputs else None,
            ctx.workspace.episodes,
            ctx.workspace.cache,
            ctx.journal,
        ),
    )
    errors = {f"{name}_mean_error": sum(group.error) / len(group.error) for name, group in found.groups.items()}
    ctx.journal.metrics({"outside_fraction": found.contract.outside_fraction, **errors}, step=0)
    return {"open_loop": JsonOutput.of(found)}
