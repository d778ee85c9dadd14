"""sane-detect-mode: what waits for input in a pane."""

from __future__ import annotations

import dataclasses
from typing import Annotated

from sane.core.pane.prompt_line import SHELLS, repl_name
from sane.primitives._pane import open_tmux_pane
from sane.transports.context import Context
from sane.verbs.registry import verb

SHELL_CAPABILITIES = ["run_command", "exit_code", "create_file", "structured_prompt"]
WAITS = ("idle", "nested", "typing", "continuation")
PROMPT_SHELLS = frozenset({"bash", "zsh", "fish", "dash", "sh", "ash", "busybox"})


@dataclasses.dataclass(frozen=True)
class PaneMode:
    """Answer the mode: `bash` where a POSIX-like shell takes commands, `raw` for everything else.

    In a pane whose program has ended nothing takes anything: `dead`, with no shell and no capabilities.
    """

    mode: str
    shell: str
    capabilities: list[str]
    supports_structured_prompt: bool
    pane: str
    busy: bool
    dead: bool | None = None


@verb(access="read", example="sane-detect-mode work:0.1")
async def detect_mode(ctx: Context, target: Annotated[str, "the pane"]) -> PaneMode:
    """Tell whether a shell, an interpreter or a device takes input in a pane, without typing anything.

    `shell` behind an ssh or in a nested tmux is a guess from the prompt. Raises NotFoundError.
    """
    pane = await open_tmux_pane(ctx, target)
    screen = await pane.look()
    verdict = pane.verdict(screen)
    if verdict == "dead":
        return PaneMode("raw", "", [], False, target, False, dead=True)
    if verdict == "repl":
        from sane.core.pane.raw_prompt import raw_prompt

        prompt = raw_prompt(screen.before, screen.program, screen.lines)
        name = prompt.kind if prompt is not None else repl_name(screen.program, screen.before) or screen.program
        takes = ["run_command", "send_keys"] if prompt is not None else ["send_keys"]
        return PaneMode("raw", name, takes, False, target, False)
    if screen.program in SHELLS:
        shell = screen.program
    elif verdict in WAITS:
        shell = "zsh" if screen.before.rstrip().endswith("%") else "bash"
    else:
        return PaneMode("raw", screen.program, ["send_keys"], False, target, True)
    return PaneMode("bash", shell, list(SHELL_CAPABILITIES), shell in PROMPT_SHELLS, target, verdict not in WAITS)
