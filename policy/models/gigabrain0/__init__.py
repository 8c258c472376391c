"""GigaBrain-0: an own implementation of the published architecture, small enough here to learn on one core.

Registering imports no torch: it waits until a policy is trained or loaded.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from policy.flow.family import flow_family
from policy.models import POLICIES
from policy.models.gigabrain0.config import GigaBrain0Config, published_preset, small_preset, tiny_preset
from policy.models.gigabrain0.layout import LEROBOT
from policy.models.gigabrain0.prompt import PROMPT
from policy.models.gigabrain0.sizes import published

if TYPE_CHECKING:
    from policy.models.gigabrain0.network import GigaBrain0Network


def _network() -> type[GigaBrain0Network]:
    from policy.models.gigabrain0.network import GigaBrain0Network

    return GigaBrain0Network


POLICIES.add(
    "gigabrain0",
    flow_family(
        "gigabrain0",
        config=GigaBrain0Config,
        form=PROMPT,
        presets={"tiny": tiny_preset, "small": small_preset, "published": published_preset},
        kind=_network,
        published=published(),
        licences={
            "start": "GigaBrain-0's project names Apache-2.0; it grows from PaliGemma 2, whose card names the Gemma "
            "Terms of Use (ai.google.dev/gemma/terms)",
            "tokenizer": "PaliGemma's card names the Gemma Terms of Use (ai.google.dev/gemma/terms)",
        },
        lerobot=LEROBOT,
    ),
)
