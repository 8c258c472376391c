"""Lets a benchmark import `tests.support`, which is in the checkout and in no package that is installed."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))
