"""sane-validate-python: does a text compile as Python?"""

from __future__ import annotations

from typing import Annotated

from sane.core.command import Command
from sane.core.target import parse_target
from sane.errors import RemoteError
from sane.primitives.validate_bash import Verdict
from sane.transports.base import Transport
from sane.transports.context import Context
from sane.verbs.registry import verb

# It only compiles: nothing of the text runs. The answer stands behind a tab, whatever the shell prints around it.
CHECK = """\
import sys, warnings
warnings.simplefilter("ignore")
try:
    compile(sys.stdin.buffer.read(), "text", "exec", 0, True)
    print("\\tok")
except SyntaxError as error:
    print("\\t%s\\t%s\\t%s" % (error.lineno or 1, error.offset or 1, error.msg))
except (ValueError, RecursionError, MemoryError) as error:
    print("\\t1\\t1\\t%s" % (str(error) or "nested too deeply"))
"""


@verb(access="read", example="sane-validate-python 'print(1)'", ok=lambda answer: True)
async def validate_python(
    context: Context,
    text: Annotated[str, "the program"],
    *,
    target: Annotated[str, "whose python3 to ask: versions differ"] = "local:",
    timeout_s: Annotated[float, "how long it may take"] = 10.0,
) -> Verdict:
    """Check the syntax of a Python program without running it. Raises RemoteError where there is no python3 to ask."""
    return await check_python(await context.transport(parse_target(target)), text, timeout_s)


async def check_python(transport: Transport, text: str, timeout_s: float = 10.0) -> Verdict:
    """Return python3's own verdict on a program, with the line and column of its first complaint."""
    command = Command(
        'python3 -I -c "$SANE_CHECK" 2>&1',
        env={"SANE_CHECK": CHECK},
        stdin=text.encode("utf-8", "surrogateescape"),
        timeout_s=timeout_s,
        display="sane-validate-python",
    )
    result = await transport.run(command)
    _, tab, said = result.text.partition("\t")
    if result.exit_code != 0 or not tab:
        said = result.text.strip().rpartition("\n")[2]
        raise RemoteError(f"python3 did not answer ({said or 'timeout'})", hint="This needs python3 there.")
    if said.startswith("ok"):
        return Verdict(True)
    line, column, message = said.rstrip("\n").split("\t", 2)
    return Verdict(False, message, int(line), max(1, int(column)))
