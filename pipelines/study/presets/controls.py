"""controls: does a value need pictures? The labels of values that see none beside ViVa's, as headline makes them."""

from dataclasses import replace

from pipelines.study.config import STUDIES
from pipelines.study.presets.headline import HEADLINE

STUDIES.add(
    "controls",
    replace(
        HEADLINE,
        tasks=("shirt_folding",),
        arms=("imitation", "random", "clock", "state_only", "viva"),
        seeds=3,
        fewer={},
        variants={},
    ),
)
