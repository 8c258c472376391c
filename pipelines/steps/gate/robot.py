"""The gate's attempts on a robot: champion and challenger in one shuffled order, which the operator is not told."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import batched
from typing import Any

from pipelines.facts import ActingFacts
from pipelines.operator import ALONE, attempts_on_robot, slot_of
from recap.step import Artifact, StepContext

PLAYERS = ("champion", "challenger")
_PAIRS_AT_ONCE = 2
"""So many attempts of either in every four: a robot that wears, or a scene that drifts, meets both alike."""


def play_on_robot(
    ctx: StepContext, facts: ActingFacts, inputs: Mapping[str, Artifact], pairs: Sequence[str], begun: Sequence[str]
) -> dict[str, dict[str, Any]]:
    """{"PLAYER/PAIR": row} of the pairs begun so far.

    Raises:
        WaitingForOperator: attempts are still to be made.
    """
    numbers = {key: number for number, key in enumerate(pairs)}
    wanted = set(begun)
    slots = [
        slot_of(ctx.workspace, f"{name}/{key}", numbers[key], ALONE, inputs[name])
        for name, key in blinded(pairs, order=f"{ctx.run_name}/{ctx.node}")
        if key in wanted
    ]
    return attempts_on_robot(ctx, inputs["robot"], facts.tasks[0], slots, noise_seed=facts.noise_seed)


def blinded(pairs: Sequence[str], *, order: str) -> list[tuple[str, str]]:
    """[(player, pair)] in the order to play them; drawn from the text `order`, the same at every call.

    Of every four attempts two are of either player, in any of the six orders alike often. The i-th attempt of one and
    the i-th of the other are a pair.
    """
    from data.sim.seeds import stream

    found = []
    for block, keys in enumerate(batched(pairs, _PAIRS_AT_ONCE)):
        players = [name for name in PLAYERS for _ in keys]
        left = {name: list(keys) for name in PLAYERS}
        shuffled = stream(f"blinded/{order}", block).permutation(len(players))
        found += [(players[i], left[players[i]].pop(0)) for i in shuffled]
    return found
