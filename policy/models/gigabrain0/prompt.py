r"""GigaBrain-0's prompt: `Task: {task}, State: {bins};\n`, the instruction in lower case, no line for the actions.

A "subtask:" in the instruction gets a place of its own. GigaBrain-0 knows no advantage; the condition stands where
pi*0.6 puts it, last before the actions.

Example:
    >>> PROMPT.text("Fold the_shirt", [0, 128])
    'Task: fold the shirt, State: 0 128;\n'
    >>> PROMPT.text("fold subtask: left sleeve", [7], condition="Advantage: positive")
    'Task: fold, Subtask: left sleeve, State: 7;\nAdvantage: positive;\n'
    >>> PROMPT.bins(np.array([-1.5, -1.0, 0.0, 0.001, 9.0], np.float32)).tolist()
    [-1, -1, 127, 128, 255]
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from policy.flow.prompt import EDGES, PromptForm
from recap.types import FloatArray


@dataclass(frozen=True, slots=True)
class GigaBrain0Prompt(PromptForm):
    """The form of GigaBrain-0."""

    def head(self, task: str) -> str:
        """All that stands before the state; line ends stay, but for those behind a subtask, where the text ends."""
        cleaned = task.lower().strip().replace("_", " ")
        main, *subtasks = cleaned.split(" subtask: ")
        return f"Task: {main}, Subtask: {subtasks[0].split('\n')[0]}" if subtasks else f"Task: {main}"

    def bins(self, state: FloatArray) -> NDArray[np.int64]:
        """Bin of every normalised value; one on the edge between two bins belongs to the lower (torch.bucketize)."""
        return np.digitize(state, EDGES, right=True) - 1


PROMPT = GigaBrain0Prompt(ending=";\n", after=";\n")
