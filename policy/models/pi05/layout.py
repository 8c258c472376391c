"""The files of a pi0.5 bundle: LeRobot loads the folder as a pretrained policy of type recap_pi05.

    config.json                    LeRobot policy config, all sizes inside
    model.safetensors              weights under LeRobot's names
    policy_preprocessor.json ...   LeRobot processors with the statistics they need
    policy_postprocessor.json ...
    tokenizer.json                 the prompt's tokens, for the `tokenizers` library

The JSON is written here rather than by LeRobot's own savers, because importing those costs seconds; a contract test
loads the folder with LeRobot, saves it again with LeRobot, and compares.
"""

from __future__ import annotations

from typing import Any

from policy.flow.info import BundleInfo, Layout
from policy.flow.tokenizer import FILE_NAME
from policy.models.pi05.lerobot_files import config_json, postprocessor_files, preprocessor_files


def _files(info: BundleInfo) -> dict[str, Any]:
    return {
        "config.json": config_json(info),
        **preprocessor_files(info),
        **postprocessor_files(info),
        FILE_NAME: info.tokenizer.content,
    }


LAYOUT = Layout(weights="model.safetensors", prefix="model.", files=_files)
