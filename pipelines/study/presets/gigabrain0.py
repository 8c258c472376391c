"""gigabrain0: the shirt of the headline with the other policy family; what labels are worth there."""

from dataclasses import replace

from pipelines.study.config import STUDIES
from pipelines.study.presets.headline import HEADLINE

STUDIES.add(
    "gigabrain0",
    replace(
        HEADLINE,
        tasks=("shirt_folding",),
        arms=("imitation", "random", "viva"),
        seeds=3,
        fewer={},
        variants={},
        policy="gigabrain0",
    ),
)
