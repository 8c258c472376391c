r"""pi0.5's prompt: `Task: {task}, State: {bins};\nAction: `.

Example:
    >>> PROMPT.text("fold the_shirt", [0, 128])
    'Task: fold the shirt, State: 0 128;\nAction: '
    >>> PROMPT.conditioned("Task: fold, State: 0;\nAction: ", "Advantage: positive")
    'Task: fold, State: 0;\nAdvantage: positive\nAction: '
    >>> import numpy as np
    >>> PROMPT.bins(np.array([-1.5, -1.0, 0.0, 1.0, 9.0], np.float32)).tolist()
    [-1, 0, 128, 255, 255]
"""

from policy.flow.prompt import PromptForm
from policy.flow.vocabulary import ACTION_LINE

PROMPT = PromptForm(ending=ACTION_LINE, after="\nAction: ")
