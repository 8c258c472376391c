"""adopt: a policy that lies somewhere, as an artifact.

What is evaluated outside of a run is then an input like any other: of the same identity as the result of the run that
it comes from, so that what is known of it is not found out again, and safe from changes in the folder.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from recap.config import setting, validate
from recap.step import Artifact, DirOutput, StepContext, step


@dataclass(frozen=True, kw_only=True, slots=True)
class AdoptConfig:
    """Where it lies."""

    policy: str = setting("", content=True, help="folder of the policy")

    def __post_init__(self) -> None:
        validate(self)


@step(name="adopt", version=1, config=AdoptConfig, outputs=("policy",))
def adopt(ctx: StepContext, config: AdoptConfig, inputs: Mapping[str, Artifact]) -> Mapping[str, DirOutput]:
    """Outputs a copy of the folder; of a result of the workspace, which is never written again, links."""
    from pipelines.attempts import link_tree

    source, out = Path(config.policy), ctx.out / "policy"
    if source.resolve().is_relative_to(ctx.workspace.artifacts.resolve()):
        link_tree(source, out)
    else:
        shutil.copytree(source, out)
    return {"policy": DirOutput(out)}
