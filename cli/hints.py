"""What to type next, for the workspace that the command was given.

An error is raised where nobody knows of a command line: its hint says `recap data repair`. Typed as it is, that would
look at `runs`; here the workspace is added, quoted for the shell.
"""

from __future__ import annotations

import re
import shlex
from pathlib import Path

from cli.options import DEFAULT_WORKSPACE, chosen_workspace

# Not `recap schedule list`: it looks at all workspaces where none is named.
_COMMAND = re.compile(
    r"(?<![\w/.'-])recap (?:run|resume|status|list|explain|verify|report|gc|annotate|compare|doctor|lineage|rollback"
    r"|robot|night|serve|export|evaluate|schedule (?:add|remove|history|run-now)|study run"
    r"|data (?:record|verify|repair|show|stats|import|export))(?![\w-])"
)


def typed_here(hint: str, workspace: Path | None = None) -> str:
    """A hint whose commands of recap name the workspace, where it is not the default one.

    Args:
        hint: text with any number of commands; one that names a workspace is left as it is.
        workspace: as it was given; None: what this process was called with.
    """
    workspace = chosen_workspace() if workspace is None else workspace
    if workspace == DEFAULT_WORKSPACE:
        return hint
    where = f" --workspace {shlex.quote(str(workspace))}"

    def named(command: re.Match[str]) -> str:
        own = hint[command.end() :].partition("recap ")[0]
        return command[0] if "--workspace" in own else command[0] + where

    return _COMMAND.sub(named, hint)
