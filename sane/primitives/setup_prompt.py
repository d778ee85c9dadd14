"""sane-setup-prompt: a prompt that tells who, where, when and how the last command ended."""

from __future__ import annotations

import dataclasses
from typing import Annotated

from sane.core.command import Command
from sane.core.pane.structured_prompt import ASK_SHELL, prompt_script
from sane.errors import PaneError
from sane.primitives._pane import open_tmux_pane
from sane.transports.context import Context
from sane.verbs.registry import verb


@dataclasses.dataclass(frozen=True)
class SetPrompt:
    """Answer `success`, or `warning` where no shell that takes a prompt waits there."""

    status: str
    pane: str
    shell: str
    ps1_set: bool
    message: str


@verb(access="write", example="sane-setup-prompt work:0.1")
async def setup_prompt(ctx: Context, target: Annotated[str, "the pane"]) -> SetPrompt:
    """Set the structured prompt `user@host - date seq:N rslt:CODE shell $` in a pane's shell, with OSC 133 marks.

    Raises NotFoundError; PaneError when the pane is busy.
    """
    pane = await open_tmux_pane(ctx, target)
    screen = await pane.look()
    if pane.verdict(screen) == "repl":
        return SetPrompt("warning", target, screen.program, False, f"{screen.program} is no shell: no prompt was set")
    asked = await pane.run(Command(ASK_SHELL, timeout_s=10.0, display="# sane: which shell is this?"))
    shell = asked.text.strip().rpartition("/")[2].lstrip("-")
    shell = "ash" if shell == "busybox" else shell  # its only interactive shell
    script = prompt_script(shell)
    if script is None:
        return SetPrompt("warning", target, shell or "unknown", False, "this shell's prompt can't be set")
    done = await pane.run(Command(script, timeout_s=10.0, display="# sane: structured prompt"))
    if done.exit_code != 0:
        raise PaneError(f"the prompt of {target} could not be set: {done.text.strip()}")
    return SetPrompt("success", target, shell, True, "the structured prompt is set")
