"""sane-detect-mode: what waits for input in a pane."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Annotated

from sane.core.pane.prompt_line import SHELLS, repl_name
from sane.errors import PaneError
from sane.primitives._pane import open_tmux_pane
from sane.transports.context import Context
from sane.verbs.registry import verb

if TYPE_CHECKING:
    from sane.transports.pane import PaneTransport
    from sane.transports.pane_state import Verdict

SHELL_CAPABILITIES = ["run_command", "exit_code", "create_file", "structured_prompt"]
ASKED = ("idle", "nested")
WAITS = (*ASKED, "typing", "unusual", "continuation")
ASK_WAIT_S = 3.0
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
    """Tell whether a shell, an interpreter or a device takes input in a pane.

    A shell behind an ssh or in a nested tmux is asked its name at an empty prompt, and what is typed for it is erased
    again; else its name is a guess from the prompt. In any other pane nothing is typed. Raises NotFoundError.
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
        shell = await _ask(pane, verdict) or ("zsh" if screen.before.rstrip().endswith("%") else "bash")
    else:
        return PaneMode("raw", screen.program, ["send_keys"], False, target, True)
    return PaneMode("bash", shell, list(SHELL_CAPABILITIES), shell in PROMPT_SHELLS, target, verdict not in WAITS)


async def _ask(pane: PaneTransport, verdict: Verdict) -> str:
    if verdict not in ASKED:
        return ""
    try:
        return await pane.ask_shell(ASK_WAIT_S)
    except PaneError:  # somebody has begun a line meanwhile
        return ""
