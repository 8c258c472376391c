"""Run in its own process by test_lerobot.py: LeRobot's own pi0.5, with its processors, acts from a published folder.

Takes the folder of weights (and tokenizer) and an observation; prints the action chunk and the tokens as one JSON line.
"""

from __future__ import annotations

import json
import sys

import numpy as np
import torch
from compare_with_lerobot import lerobot_network
from lerobot.configs import FeatureType, PolicyFeature
from lerobot.policies.pi05 import processor_pi05
from lerobot.policies.pi05.configuration_pi05 import PI05Config
from lerobot.policies.pi05.modeling_pi05 import PI05Policy
from tests.support.policies import NAMES, synthetic_stats
from tests.support.published import pi05_sizes

CHUNK = 8


def main(folder: str, observation: str) -> None:
    """The chunk for an observation, through LeRobot alone; only sizes and the tokenizer's place are not its own."""
    fed = np.load(observation)
    sizes = pi05_sizes()
    lerobot_network(sizes, CHUNK)  # puts the sizes into LeRobot's tables
    step = processor_pi05.TokenizerProcessorStep
    processor_pi05.TokenizerProcessorStep = lambda tokenizer_name, **others: step(tokenizer_name=folder, **others)
    images = [name for name in fed.files if name.startswith("observation.images.")]
    size = sizes.image_size
    config = PI05Config(
        input_features={
            **{name: PolicyFeature(type=FeatureType.VISUAL, shape=(3, size, size)) for name in images},
            "observation.state": PolicyFeature(type=FeatureType.STATE, shape=(len(NAMES),)),
        },
        output_features={"action": PolicyFeature(type=FeatureType.ACTION, shape=(len(NAMES),))},
        image_resolution=(size, size), chunk_size=CHUNK, n_action_steps=4, num_inference_steps=3, device="cpu",
    )  # fmt: skip
    figures = synthetic_stats(CHUNK, ())
    stats = {
        name: {key: torch.tensor(value) for key, value in figures[own].items()}
        for name, own in (("observation.state", "state"), ("action", "action"))
    }
    pre, post = processor_pi05.make_pi05_pre_post_processors(config, stats)
    policy = PI05Policy.from_pretrained(folder, config=config, strict=False)
    policy.eval()
    batch = {"observation.state": torch.from_numpy(fed["observation.state"]), "task": str(fed["task"])}
    batch |= {name: torch.from_numpy(fed[name]).permute(2, 0, 1).float() / 255 for name in images}
    ready = pre(batch)
    chunk = post(policy.predict_action_chunk(ready, noise=torch.from_numpy(fed["noise"])[None]))[0]
    tokens, written = ready["observation.language.tokens"][0], ready["observation.language.attention_mask"][0]
    told = {"action": chunk.tolist(), "tokens": tokens[written.bool()].tolist()}
    print(json.dumps(told))  # noqa: T201


if __name__ == "__main__":
    main(*sys.argv[1:])
