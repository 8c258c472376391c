"""join: sets of episodes as one."""

from pipelines.steps.join.step import join as join
