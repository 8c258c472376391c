"""Run in a process of its own: LeRobot's own loader takes a folder and acts on recorded observations.

    python -m policy.flow.lerobot.act FOLDER OBSERVATIONS.npz

OBSERVATIONS.npz holds `state` [N, S], `noise` [N, H, F], `prompt` and a `frames/CAMERA` [N, h, w, 3] uint8 of each
camera. Prints {"type": the policy's, "actions": [N, H, A]} as the last line. Nothing of recap is imported but by
LeRobot, which finds its policy types as it finds anybody's.
"""

from __future__ import annotations

import json
import sys

import numpy as np
import torch
from lerobot.configs import PreTrainedConfig
from lerobot.policies import get_policy_class, make_pre_post_processors
from lerobot.utils.import_utils import register_third_party_plugins

FRAMES = "frames/"
"""As in files.py, which this program does not import."""


def main(folder: str, observations: str) -> None:
    """Loads and acts; only the noise, which LeRobot draws itself, is given."""
    torch.set_num_threads(1)
    register_third_party_plugins()
    config = PreTrainedConfig.from_pretrained(folder)
    config.device = "cpu"
    policy = get_policy_class(config.type).from_pretrained(folder, config=config).eval()
    device = {"device_processor": {"device": "cpu"}}
    # Of LeRobot's own type the tokenizer is named by the place that the folder will lie at.
    here = {"tokenizer_processor": {"tokenizer_name": f"{folder}/tokenizer"}} if config.type == "pi05" else {}
    before, after = make_pre_post_processors(
        config, pretrained_path=folder, preprocessor_overrides={**device, **here}, postprocessor_overrides=device
    )
    actions = []
    with np.load(observations, allow_pickle=False) as seen:
        cameras = [name for name in seen.files if name.startswith(FRAMES)]
        for row, (state, noise) in enumerate(zip(seen["state"], seen["noise"], strict=True)):
            batch = {"observation.state": torch.from_numpy(state), "task": str(seen["prompt"])}
            for name in cameras:
                picture = torch.from_numpy(seen[name][row]).permute(2, 0, 1).float() / 255
                batch[f"observation.images.{name.removeprefix(FRAMES)}"] = picture
            policy.reset()
            given = torch.from_numpy(noise)[None]
            actions.append(after(policy.predict_action_chunk(before(batch), noise=given))[0].tolist())
    print(json.dumps({"type": config.type, "actions": actions}))  # noqa: T201 - the answer of this program


if __name__ == "__main__":
    main(*sys.argv[1:])
