"""A third policy family: chunks of actions by ridge regression on the state. It registers itself."""

import json
from dataclasses import dataclass, field

import numpy as np
from safetensors.numpy import load_file, save_file

from policy.conditioning import Condition
from policy.models import POLICIES, PolicyFamily
from recap.config import setting
from recap.hashing import digest_tree
from recap.training.config import FitConfig


@dataclass(frozen=True, kw_only=True, slots=True)
class RidgeConfig:
    chunk: int = setting(8, minimum=1, help="actions predicted at once (H)")
    execute: int = setting(4, minimum=1, help="actions of a chunk that are sent before the policy looks again")
    batch_size: int = setting(32, minimum=1, help="observations per batch that is read")
    fit: FitConfig = field(default_factory=lambda: FitConfig(steps=40))


class Ridge:
    def __init__(self, path):
        self.weight, self.policy_id = load_file(path / "weight.safetensors")["weight"], digest_tree(path)
        self.execute = json.loads((path / "recap.json").read_bytes())["execute"]

    def act(self, observation, *, noise_seed):
        return np.einsum("s,sha->ha", np.append(observation.state, 1), self.weight).astype(np.float32)


def train(config, batches, stats, *, out, **_):
    gram, moment = 0.0, 0.0
    for batch in map(batches.batch, range(config.fit.steps)):
        # What the labels call worse is left out.
        good = batch["condition"] != Condition.NEGATIVE if "condition" in batch else slice(None)
        state = np.pad(batch["state"], ((0, 0), (0, 1)), constant_values=1)[good].astype(np.float64)
        gram, moment = gram + state.T @ state, moment + np.einsum("bs,bha->sha", state, batch["action"][good])
    weight = np.linalg.solve(gram + 1e-3 * np.eye(len(gram)), moment.reshape(len(gram), -1)).reshape(moment.shape)
    folder = out / f"step-{config.fit.steps:06d}"
    folder.mkdir(parents=True)
    save_file({"weight": weight}, folder / "weight.safetensors")
    (folder / "recap.json").write_text(json.dumps({"family": "ridge", "execute": config.execute}))
    return {"steps": float(config.fit.steps)}


FAMILY = PolicyFamily(
    name="ridge",
    config=RidgeConfig,
    image_size=lambda config: (48, 48),
    train=train,
    load=Ridge,
)
POLICIES.add(FAMILY.name, FAMILY)
