"""The files of a pi0.5 bundle: LeRobot loads the folder as a pretrained policy of type recap_pi05."""

from __future__ import annotations

from policy.flow.lerobot.files import LeRobotType
from policy.models.pi05.prompt import PROMPT
from policy.models.pi05.stock import STOCK

LEROBOT = LeRobotType(
    name="recap_pi05",
    form=PROMPT,
    prompt="pi05_prepare_state_tokenizer_processor_step",
    tokenizer="recap_pi05_tokenizer",
    stock=STOCK,
)
LAYOUT = LEROBOT.layout
