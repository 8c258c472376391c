"""A task of somebody else: folding trousers with a shorter look-ahead. It registers itself."""

from copy import copy
from dataclasses import replace

from data.tasks import TASKS

task = copy(TASKS.get("pants_folding"))
task.spec = replace(task.spec, id="quick_pants", prompt="fold the trousers", lookahead_s=0.8)
TASKS.add(task.spec.id, task)
