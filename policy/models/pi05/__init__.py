"""pi0.5: LeRobot's policy in full size, and the same network small enough to learn on one core.

Registering imports neither torch nor LeRobot: both wait until a policy is trained or loaded.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from policy.flow.family import flow_family
from policy.models import POLICIES
from policy.models.pi05.config import Pi05Config, published_preset, small_preset, tiny_preset
from policy.models.pi05.layout import LEROBOT
from policy.models.pi05.prompt import PROMPT
from policy.models.pi05.sizes import full

if TYPE_CHECKING:
    from policy.models.pi05.network import Pi05Network


def _network() -> type[Pi05Network]:
    from policy.models.pi05.network import Pi05Network

    return Pi05Network


POLICIES.add(
    "pi05",
    flow_family(
        "pi05",
        config=Pi05Config,
        form=PROMPT,
        presets={"tiny": tiny_preset, "small": small_preset, "published": published_preset},
        kind=_network,
        published=full(),
        lerobot=LEROBOT,
        loaded_by=("LeRobot",),
        licences={
            "start": "pi0.5 grows from PaliGemma, whose card names the Gemma Terms of Use (ai.google.dev/gemma/terms)",
            "tokenizer": "PaliGemma's card names the Gemma Terms of Use (ai.google.dev/gemma/terms)",
        },
    ),
)
