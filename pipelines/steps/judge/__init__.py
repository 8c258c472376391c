"""judge: are the held-out values any good?"""

from pipelines.steps.judge.step import judge as judge
