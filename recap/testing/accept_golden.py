"""`python -m recap.testing.accept_golden`: takes the code of every step as it is for the golden fingerprints.

Run it after raising the version of a step, or when a change to its code cannot change what it outputs.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from recap.testing.fingerprints import accept

GOLDEN = Path("tests/golden/fingerprints.json")


def main() -> None:
    """Rewrites the golden file and says what that settled."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("path", nargs="?", type=Path, default=GOLDEN, help=f"golden file (default {GOLDEN})")
    settled = accept(parser.parse_args().path)
    sys.stdout.write("\n".join(f"accepted: {problem}" for problem in settled) or "nothing had changed")
    sys.stdout.write("\n")


if __name__ == "__main__":
    main()
