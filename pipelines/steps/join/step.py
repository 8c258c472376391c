"""join: sets of episodes as one. Nothing is copied: a set is a list of ids.

Where several tasks are learned together, or experience has grown over iterations, each recording has its own set; what
trains on all of them reads the union.
"""

from __future__ import annotations

from collections.abc import Mapping

from recap.step import Artifact, JsonOutput, StepContext, step


@step(name="join", version=2, several=("sets",), outputs=("episodes",))
def join(ctx: StepContext, config: None, inputs: Mapping[str, Artifact]) -> Mapping[str, JsonOutput]:
    """Outputs the EpisodeSet of everything in any input."""
    from data.episode_set import EpisodeSet

    sets = [EpisodeSet.from_json(artifact.json()) for artifact in inputs.values()]
    return {"episodes": JsonOutput(EpisodeSet.of(episode for one in sets for episode in one).to_json())}
