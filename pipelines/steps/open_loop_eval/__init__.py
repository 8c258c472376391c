"""open_loop_eval: the chosen policy acts on recorded observations; its actions are compared with those recorded."""

from pipelines.steps.open_loop_eval.step import open_loop_eval as open_loop_eval
