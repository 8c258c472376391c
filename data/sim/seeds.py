"""Counter-based randomness of the simulator: every stream is a pure function of a purpose and integers.

Owns the derivation only. No global generator, no draw order shared between two purposes.
"""

from __future__ import annotations

import hashlib

import numpy as np


def derive(purpose: str, *counters: int) -> int:
    """A 63-bit seed for `purpose` and `counters`; the same on every machine.

    Example:
        >>> derive("noise", 1, 2) == derive("noise", 1, 2) != derive("noise", 2, 1)
        True
    """
    text = "/".join([purpose, *(str(int(counter)) for counter in counters)])
    return int.from_bytes(hashlib.sha256(text.encode("ascii")).digest()[:8], "little") >> 1


def stream(purpose: str, *counters: int) -> np.random.Generator:
    """A Philox generator of its own for `purpose` and `counters`."""
    return np.random.Generator(np.random.Philox(key=derive(purpose, *counters)))
