"""Every hint works when it is typed: its commands, options, settings, make targets and pages exist."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
from hint_judge import ROOT, faults
from hint_scan import Hint, Unread, scan, scan_source

from cli import options

UNREAD = {
    Unread("recap/errors.py", "hint"),  # handed on by the class itself
    Unread("data/lerobot_io/files.py", "hint"),  # the same
    # Whole commands made of what was asked for: test_import_parts.py and test_field_cases.py type them.
    Unread("pipelines/datasets/plan.py", "request.again(root, robot='NAME')"),
    Unread(
        "pipelines/datasets/plan.py",
        "hints.pop() if len(hints) == 1 and '' not in hints else request.again(root, **changed)",
    ),
    Unread("pipelines/datasets/importing.py", "request.again(Path('ANOTHER_FOLDER'))"),
    Unread("pipelines/study/run.py", "again_of(root, name, results, asked)"),  # typed by test_study.py
    Unread("pipelines/operator.py", "robot_command(ctx.run_name, ctx.workspace.root)"),  # typed by test_robot_run.py
    Unread("data/framecache.py", "hint"),  # handed over as text, to a function of the file
    Unread("data/robots/gym.py", "self.install"),  # given as install=, which is read
    Unread("data/robots/gym.py", "task.install"),
    Unread("value_model/advantage.py", "error.hint"),  # of an error of recap
    Unread("pipelines/annotation_server/queue.py", "command"),  # made of the texts in the file
    Unread("pipelines/steps/record/imported.py", "recorded.check_command()"),  # texts of folder.py
    Unread("recap/hub.py", "self.by_hand"),  # of another command, hf: test_hub_names.py
    Unread("recap/hub.py", "error.hint"),  # the same
    Unread("pipelines/until.py", "self._again"),  # the command of the run, as it prints it at its end
    Unread("pipelines/settings.py", "error.hint"),  # of the setting that was refused
    Unread("cli/main.py", "typed_here(error.hint)"),  # any of them, with the workspace: test_typed_here.py
}


@pytest.fixture(autouse=True)
def unchanged_process(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Reading a command line notes its workspace."""
    monkeypatch.setattr(os, "environ", os.environ.copy())
    before = options.chosen_workspace()
    yield
    options.noted(before)


def test_every_hint_in_the_source_works_as_typed() -> None:
    hints, _ = scan(ROOT)
    wrong = [f"{hint.file}:{hint.line}: {fault}" for hint in hints for fault in faults(hint)]
    assert not wrong, "\n".join(wrong)


def test_the_scan_sees_them_all() -> None:
    hints, unread = scan(ROOT)
    assert set(unread) == UNREAD
    given = sum((ROOT / file).read_text().count("hint=") for file in {hint.file for hint in hints})
    assert sum(hint.error for hint in hints) > 0.9 * given > 100


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("recap resum", "no command"),
        ("recap explain nightly   (what changed)", "unexpected extra argument"),
        ("recap run --tasks NAME", "No such option"),
        ("look at it: recap data export", "Missing option '--to'"),
        ("recap resume; then recap data mend", "recap data mend"),
        ("recap data show", "Missing argument"),
        ("recap annotate --port many", "many"),
        ("recap run --task", "requires an argument"),
        ("recap run --set policy.model.fit.stepz=5", "did you mean 'steps'"),
        ("--set rollouts.corrections=none", "expected"),
        ("--set rollouts.correction=0", "group of settings"),
        ("--set nowhere.at.all=PATH", "no setting"),
        ("give --demo DIR", "recap run has no option --demo"),
        ("lower fit.learning_rates", "is no setting"),
        ("call policy.conditioning.PromptedBatch", "is no setting, module or file"),
        ("make env-nowhere", "no make target"),
        ("see docs/nowhere.md", "no page"),
        ("then use .envs/nowhere/bin/recap", "no nowhere"),
        ("recap run --name it's", "the shell cannot read"),
    ],
)
def test_a_wrong_hint_is_found(text: str, said: str) -> None:
    assert said in "; ".join(faults(Hint("pipelines/graph.py", 1, text, error=True)))


@pytest.mark.parametrize(
    "text",
    [
        "recap explain --name FILLED_IN   (what changed), or record anew: recap run ... --name OTHER_NAME",
        "lower fit.learning_rate, or look with `recap data stats`; then recap resume",
        "--set rollouts.attempts=FILLED_IN",
        "recap data show FILLED_IN",
        "upgrade recap, or choose another --workspace",
        "wrap the batches in policy.conditioning.PromptedBatches",
    ],
)
def test_a_right_one_is_not(text: str) -> None:
    assert faults(Hint("pipelines/graph.py", 1, text, error=True)) == []


def test_a_lone_option_needs_a_command_that_raises_it() -> None:
    assert "RAISED_BY" in faults(Hint("recap/hashing.py", 1, "give --demos DIR", error=True))[0]


SOURCE = '''
"""Docstrings may say recap anything."""
_HINT = "recap one"
_NEXT = {"a": "recap two", "b": "recap three"}
def f(x):
    raise ConfigError("m", hint=_HINT if x else f"recap four {x}")
def g(x):
    """recap nothing"""
    echo(f"next: recap five {x}")
    raise ConfigError("m", hint=_NEXT[x])
def h(x, hint):
    run(shlex.join(["recap", "six", x, *x, "--flag"]))
    raise ConfigError("m", hint=f"{cmd('recap seven')}   (all)")
def i(hint):
    raise ConfigError("m", hint=x.y)
'''


def test_texts_are_read_wherever_they_stand() -> None:
    hints, unread = scan_source(SOURCE, "x.py")
    assert sorted((hint.text, hint.error) for hint in hints) == [
        ("FILLED_IN   (all)", True),
        ("next: recap five FILLED_IN", False),
        ("recap four FILLED_IN", True),
        ("recap one", True),
        ("recap seven", False),
        ("recap six FILLED_IN --flag", False),
        ("recap three", True),
        ("recap two", True),
    ]
    assert unread == [Unread("x.py", "x.y")]
