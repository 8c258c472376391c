"""join: two sets of episodes as one. Nothing is copied: a set is a list of ids.

Where several tasks are learned together, each records its own episodes; what trains on all of them reads the union.
"""

from __future__ import annotations

from collections.abc import Mapping

from recap.step import Artifact, JsonOutput, StepContext, step


@step(name="join", version=1, inputs=("first", "second"), outputs=("episodes",), code=("data.episode_set",))
def join(ctx: StepContext, config: None, inputs: Mapping[str, Artifact]) -> Mapping[str, JsonOutput]:
    """Outputs the EpisodeSet of everything in either input."""
    from data.episode_set import EpisodeSet

    first, second = (EpisodeSet.from_json(inputs[name].json()) for name in ("first", "second"))
    return {"episodes": JsonOutput((first | second).to_json())}
