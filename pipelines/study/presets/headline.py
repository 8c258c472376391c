"""headline: does ViVa's value make a better policy than a VLM's, and both than imitation?"""

from pipelines.study.config import STUDIES, StudyConfig, Variant

_ARMS = ("all", "random", "outcome", "vlm", "steam", "viva", "flaw")

HEADLINE = StudyConfig(
    # A task joins once its difficulty is frozen (docs/tasks.md).
    tasks=("shirt_folding", "toilet_paper_organization", "box_assembly"),
    arms=("imitation", *_ARMS),
    fewer={"all": 3, "vlm": 3, "steam": 3, "flaw": 3},
    starts=100,
    # A study reports how a model that misses a bound does; the loop itself would refuse to label with it.
    settings=("evaluate.films=0", "gated=false", "judge.bounds.enforce=false"),
    variants={
        "without_corrections": Variant(arms=_ARMS, settings=("rollouts.corrections=0",)),
        "second_iteration": Variant(arms=("random", "viva"), settings=("gated=true",), iterations=2),
    },
)
STUDIES.add("headline", HEADLINE)
