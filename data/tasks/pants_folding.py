"""Fold a pair of pants: the left leg onto the right one, then the hems up to the waist. Nothing is trained on it.

Owns the shape of the pants and their ideal fold.
"""

from __future__ import annotations

import numpy as np

from data.sim.bimanual_env import ROBOT_ID
from data.sim.bimanual_task import BimanualTask
from data.sim.cloth import ClothMesh, grid_mesh
from data.sim.garment import Fold, Garment, GarmentScenario, Lift, Part
from data.sim.layers import Handling, Hold, LayerPlanner
from data.tasks import TASKS
from recap.specs import TaskSpec

CELL_M = 0.035
COLUMNS, ROWS, LEG_COLUMNS, HIP_ROWS = 6, 8, 2, 3
OUTSIDE_M = 0.027
START_SHIFT_M, START_TURN_RAD = 0.03, 0.15
CENTRE_Y_M = -0.05
"""Nearer to the arms than the shirt: each arm must reach the far side of the waist."""
SUCCESS_ERROR_M = 0.035

SPEC = TaskSpec(
    id="pants_folding",
    prompt="fold the pants",
    robot=ROBOT_ID,
    max_steps=180,
    rate_hz=10.0,
    lookahead_s=1.8,
    positive_fraction=0.4,
    reset_s=10.0,
    success=(
        "the pants lie on the table, held by nobody, and their vertices are on average less than 35 mm from the ideal "
        "fold (one leg on the other, hems on the waist) after the best rigid alignment, with no part left unfolded, "
        "for half a second"
    ),
    revision=2,  # another expert
)


def pants() -> Garment:
    """58 vertices, 3.5 cm apart: hips of 6 x 3 cells and two legs of 2 x 5 cells. Waist towards +y."""
    cells = [(i, j) for i in range(COLUMNS) for j in range(ROWS - HIP_ROWS, ROWS)]
    cells += [
        (i, j) for i in (*range(LEG_COLUMNS), *range(COLUMNS - LEG_COLUMNS, COLUMNS)) for j in range(ROWS - HIP_ROWS)
    ]
    nodes, triangles = grid_mesh(cells, CELL_M)
    grid = np.array(nodes, dtype=np.int64)
    x = (grid[:, 0] - COLUMNS / 2) * CELL_M
    y = (grid[:, 1] - ROWS / 2) * CELL_M
    flat = np.stack([x, y], axis=1)
    halved = np.stack([np.abs(x), y], axis=1)
    ideal = np.stack([np.abs(x), np.abs(y)], axis=1)
    index = {(int(i), int(j)): k for k, (i, j) in enumerate(grid)}
    left, lower = grid[:, 0] < COLUMNS // 2, grid[:, 1] < ROWS // 2
    waist = (index[0, ROWS], index[COLUMNS, ROWS])
    hems = (index[0, 0], index[COLUMNS, 0])
    inner = index[COLUMNS - LEG_COLUMNS, 0]
    # Once folded, each vertex of the left half lies on its mirror image: fingers close on both layers.
    layers = np.zeros((len(grid), len(grid)), dtype=np.bool_)
    for (i, j), vertex in index.items():
        layers[vertex, index[COLUMNS - i, j]] = i != COLUMNS - i
    return Garment(
        name="pants",
        rgba=".48 .24 .56 1",
        mesh=ClothMesh(points=flat, triangles=triangles),
        ideal=ideal,
        still=np.flatnonzero(~left & ~lower),
        body=np.flatnonzero(~left),
        parts=(
            Part(name="leg", vertices=np.flatnonzero(left), weight=0.5, before=flat, after=(halved, ideal)),
            Part(name="hem", vertices=np.flatnonzero(~left & lower), weight=0.45, before=halved, after=(ideal,)),
        ),
        folds=(
            Fold(
                lifts=(Lift(rim=waist[0], side=0, part="leg"), Lift(rim=hems[0], side=1, part="leg")),
                goal=halved,
                max_tries=3,
            ),
            Fold(
                lifts=(Lift(rim=inner, side=0, part="hem"), Lift(rim=hems[1], side=1, part="hem")),
                goal=ideal,
                max_tries=3,
            ),
        ),
        pairs=(waist, hems),
        behind={
            waist[0]: index[1, ROWS - 1],
            waist[1]: index[COLUMNS - 1, ROWS - 1],
            hems[0]: index[1, 1],
            hems[1]: index[COLUMNS - 1, 1],
            inner: index[COLUMNS - LEG_COLUMNS + 1, 1],
        },
        outside_m=dict.fromkeys((*waist, *hems, inner), OUTSIDE_M),
        success_error_m=SUCCESS_ERROR_M,
        shift_m=START_SHIFT_M,
        turn_rad=START_TURN_RAD,
        centre=(0.0, CENTRE_Y_M),
        ordered=True,
        layers=layers,
    )


def handling() -> Handling:
    """What each gripper takes: a leg by its outer edge, which turns over with it; then hem corners in both layers."""
    nodes = np.rint(pants().mesh.points / CELL_M).astype(np.int64)
    index = {(int(i), int(j)): vertex for vertex, (i, j) in enumerate(nodes)}
    side, waist, hem = COLUMNS // 2, ROWS // 2, -ROWS // 2
    inner = side - LEG_COLUMNS

    def hold(arm: int, *wanted: tuple[int, int], besides: tuple[tuple[int, int], ...] = ()) -> Hold:
        return Hold(
            side=arm,
            rim=index[wanted[0]],
            wanted=frozenset(index[node] for node in wanted),
            tolerated=frozenset(index[node] for node in besides),
        )

    leg = (hold(0, (-side, waist), (-side, waist - 1)), hold(1, (-side, hem), (-side, hem + 1)))
    near = (
        hold(
            0,
            *((-side, waist), (-side, waist - 1), (1 - side, waist)),
            besides=((-side, waist - 2), (1 - side, waist - 1), (2 - side, waist)),
        ),
        hold(
            1,
            *((i, hem) for i in (-side, 1 - side, -inner)),
            besides=tuple((i, hem + 1) for i in (-side, 1 - side, -inner)),
        ),
    )
    middles = ((side - 1, hem), (1 - side, hem))
    both = (hold(0, (inner, hem), (-inner, hem), besides=middles), hold(1, (side, hem), (-side, hem), besides=middles))
    layers = tuple(
        (
            hold(0, (sign * inner, hem), (sign * (side - 1), hem), besides=((sign * inner, hem + 1),)),
            hold(1, (sign * side, hem), (sign * (side - 1), hem), besides=((sign * side, hem + 1),)),
        )
        for sign in (-1, 1)
    )
    return Handling(folds=(leg, both), nudges=(near, near[:1], near[1:]), layers=layers)


TASKS.add(
    SPEC.id,
    BimanualTask(
        SPEC, scenario=lambda: GarmentScenario(pants()), planner=lambda scenario: LayerPlanner(scenario, handling())
    ),
)
