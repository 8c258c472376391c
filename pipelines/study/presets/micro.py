"""micro: a study of seconds per cell, which learns nothing. For tests and a first look."""

from pipelines.study.config import STUDIES, StudyConfig

STUDIES.add(
    "micro",
    StudyConfig(
        tasks=("shirt_folding",),
        arms=("imitation", "all", "viva"),
        seeds=2,
        starts=2,
        preset="micro",
        settings=("gated=false", "evaluate.films=0"),
    ),
)
