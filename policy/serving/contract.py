"""What a served policy expects of a request: said to every client on connect, and held to for every message.

Keys are flat, as in openpi's examples:

    observation/state           [S] numbers
    observation/images/CAMERA   [h, w, 3] uint8 RGB, one per camera, of any size
    prompt                      text; left out, the task's where there is one
    noise_seed                  integer; left out, the server draws one and says it in its reply
    condition, guidance         how to act; left out, as the bundle says
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from policy.conditioning import NEGATIVE, POSITIVE
from policy.serving.codec import MAX_MESSAGE
from recap.errors import ConfigError, UnknownName
from recap.protocols import PolicyFacts, ServedPolicy
from recap.types import FloatArray, FrameArray, Observation

STATE, IMAGES, PROMPT = "observation/state", "observation/images/", "prompt"
SEED, CONDITION, GUIDANCE = "noise_seed", "condition", "guidance"
WORDS = {"absent": "", "positive": POSITIVE, "negative": NEGATIVE}
"""{condition as a request names it: what the policy is told}."""
NAMES = {words: name for name, words in WORDS.items()}
MAX_GUIDANCE = 3.0
"""pi*0.6 uses 1.5 to 2.5; beyond it actions leave what was demonstrated. A bundle's own may be larger."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ServedTask:
    """An instruction that the policy was trained on."""

    id: str | None
    prompt: str
    rate_hz: float | None
    """Control rate; None where only the bundle is known, which does not say it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Way:
    """How to act. Requests of one way share a forward pass."""

    condition: str
    """Words of the advantage condition, "" for none."""
    guidance: float


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Request:
    """One robot's question."""

    observation: Observation
    way: Way
    noise_seed: int | None
    """None: the server draws one."""


class Contract:
    """Of one policy.

    Example:
        contract = Contract(policy, [ServedTask(id="shirt_folding", prompt="fold the shirt", rate_hz=10.0)])
        request = contract.request({"observation/state": state, "observation/images/cam_high": frame})
    """

    def __init__(self, policy: ServedPolicy, tasks: Sequence[ServedTask]) -> None:
        self._policy, self._facts, self._tasks = policy, policy.facts, tuple(tasks)
        self._images = {f"{IMAGES}{camera}": camera for camera in self._facts.cameras}
        self._prompt = tasks[0].prompt if len(tasks) == 1 else None
        self._most = max(MAX_GUIDANCE, self._facts.guidance)
        self._keys = (STATE, *self._images, PROMPT, SEED, CONDITION, GUIDANCE)

    def metadata(self) -> dict[str, Any]:
        """What a client is told when it connects: plain text, numbers, lists and maps."""
        facts: PolicyFacts = self._facts
        state = {"shape": [len(facts.state_names)], "dtype": "float32", "names": list(facts.state_names)}
        image = {"shape": ["height", "width", 3], "dtype": "uint8"}
        return {
            "server": "recap",
            "policy_id": self._policy.policy_id,
            "observation": {STATE: state, **dict.fromkeys(self._images, image)},
            "cameras": list(facts.cameras),
            "tasks": [{"id": one.id, "prompt": one.prompt, "rate_hz": one.rate_hz} for one in self._tasks],
            "prompt": self._prompt,
            "actions": {"shape": [facts.chunk, len(facts.action_names)], "dtype": "float32",
                        "names": list(facts.action_names)},
            "execute": self._policy.execute,
            "condition": NAMES[facts.condition],
            "conditions": [NAMES[words] for words in facts.conditions],
            "guidance": facts.guidance,
            "guidance_range": [0.0, self._most] if len(facts.conditions) > 1 else [1.0, 1.0],
            "max_message_bytes": MAX_MESSAGE,
        }  # fmt: skip

    def request(self, fields: Any) -> Request:
        """What a message asks.

        Raises:
            ConfigError: something is missing, unknown, misshapen, not finite or out of range; says which.
        """
        if not isinstance(fields, Mapping):
            raise ConfigError(f"a message of type {type(fields).__name__}, expected a map of {', '.join(self._keys)}")
        for name in fields:
            if name not in self._keys:
                raise UnknownName.among("key", str(name), self._keys)
        if missing := [name for name in (STATE, *self._images) if name not in fields]:
            raise ConfigError(f"no {', '.join(missing)}; got {', '.join(sorted(fields)) or 'nothing'}")
        observation = Observation(
            state=_state(fields[STATE], self._facts.state_names),
            frames={camera: _frame(name, fields[name]) for name, camera in self._images.items()},
            prompt=self._told(fields),
        )
        self._policy.check(observation)
        return Request(observation=observation, way=self._way(fields), noise_seed=_seed(fields))

    def _told(self, fields: Mapping[str, Any]) -> str:
        prompt = fields.get(PROMPT, self._prompt)
        if prompt is None:
            known = "; ".join(repr(one.prompt) for one in self._tasks)
            raise ConfigError(f"no {PROMPT}: this policy knows several tasks: {known}")
        if not isinstance(prompt, str) or not prompt.strip():
            raise ConfigError(f"{PROMPT} {prompt!r}, expected an instruction in words")
        return prompt

    def _way(self, fields: Mapping[str, Any]) -> Way:
        facts = self._facts
        name = fields.get(CONDITION, NAMES[facts.condition])
        allowed = [NAMES[words] for words in facts.conditions]
        if name not in allowed:
            raise ConfigError(f"{CONDITION} {name!r}, expected one of {', '.join(allowed)}")
        # Without a condition there is nothing to mix.
        usual = facts.guidance if WORDS[name] else 1.0
        guidance, most = fields.get(GUIDANCE, usual), self._most if WORDS[name] else 1.0
        least = 0.0 if WORDS[name] else 1.0
        if isinstance(guidance, bool) or not isinstance(guidance, int | float) or not least <= guidance <= most:
            raise ConfigError(f"{GUIDANCE} {guidance!r} with condition {name}, expected within {least:g} .. {most:g}")
        return Way(condition=WORDS[name], guidance=float(guidance))


def finite(array: FloatArray) -> bool:
    """Whether every number is."""
    return bool(np.isfinite(array).all())


def _state(found: Any, names: Sequence[str]) -> FloatArray:
    if not isinstance(found, np.ndarray) or found.dtype.kind not in "iuf" or found.shape != (len(names),):
        raise ConfigError(f"{STATE}: {_seen(found)}, expected [{len(names)}] numbers: {', '.join(names)}")
    with np.errstate(over="ignore"):
        state = found.astype(np.float32)
    if not finite(state):
        wrong = [f"{names[index]} = {found[index]:g}" for index in np.flatnonzero(~np.isfinite(state))]
        raise ConfigError(f"{STATE}: {', '.join(wrong)}, expected finite numbers of float32")
    return state


def _frame(name: str, found: Any) -> FrameArray:
    if (
        not isinstance(found, np.ndarray)
        or found.dtype != np.uint8
        or found.ndim != 3
        or found.shape[2] != 3
        or not found.size
    ):
        raise ConfigError(f"{name}: {_seen(found)}, expected [height, width, 3] uint8")
    return found


def _seed(fields: Mapping[str, Any]) -> int | None:
    seed = fields.get(SEED)
    if seed is not None and (isinstance(seed, bool) or not isinstance(seed, int) or not -(2**63) <= seed < 2**63):
        raise ConfigError(f"{SEED} {seed!r}, expected an integer of 64 bits")
    return seed


def _seen(found: Any) -> str:
    if isinstance(found, np.ndarray):
        return f"{list(found.shape)} {found.dtype}"
    return f"a {type(found).__name__}, no array"
