"""gate: does the challenger replace the champion?"""

from pipelines.steps.gate.step import gate as gate
