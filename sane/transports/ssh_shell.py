"""Answer short questions on a host in one sh that stays open, where each would need a session of its own.

A question is text for sh that ends soon and leaves nothing running. It runs in a subshell, so that the next one finds
the shell as it was, and its answer ends with a random word. A shell whose question was cut short is ended with it.
"""

from __future__ import annotations

import asyncio
import secrets

from sane.core.shell_text import quote_word
from sane.errors import LostError
from sane.transports.ssh_library import asyncssh
from sane.transports.ssh_output import CommandSession
from sane.transports.ssh_session import Finished, OpenSpare, RemoteCommand

ANSWER_LIMIT_BYTES = 8 << 20
# All comes on the one stream, stderr behind the rest, so that the last word proves that nothing is on its way any more.
# `printf` is the shell's own, so no limit on arguments holds for what the question reads.
_FRAME = """\
{{ sane_err=$({before}{{
{question}
}} 2>&1 >&3 3>&-{behind}); sane_code=$?; }} 3>&1
printf '\\n%s %s\\n%s\\n%s\\n' {word} "$sane_code" "$sane_err" {word}
"""


class HostShell(RemoteCommand):
    """Keep one sh open on a connection, and ask it one question at a time."""

    def __init__(self, connection: asyncssh.SSHClientConnection, host: str, *, spare: OpenSpare | None = None) -> None:
        self._answers = _Answers()
        super().__init__(connection, "exec sh", host, session=self._answers, spare=spare)
        self._opening: asyncio.Task[None] | None = None
        self._cut = False
        self.busy = False

    @property
    def ended(self) -> bool:
        """Return whether no further question can be asked."""
        return self._cut or self._answers.exited.is_set() or self._connection.is_closed()

    async def ask(self, question: str, stdin: bytes, timeout_s: float | None) -> Finished:
        """Return what a question left. Raises as `RemoteCommand.run` does.

        No NUL may be in `stdin`, nor in what the question writes to its stderr.
        """
        self.busy, self._opening = True, self._opening or asyncio.create_task(self._open())
        word, timed_out = secrets.token_hex(8), False
        try:
            async with asyncio.timeout(timeout_s):
                await asyncio.shield(self._opening)
                self._answers.expect(word)
                self._answers.channel.write(_framed(question, stdin, word))
                await self._answers.answered.wait()
            if self._answers.too_long:
                limit = f"{ANSWER_LIMIT_BYTES >> 20} MB"
                raise LostError(f"{self._host} answers a short question with more than {limit}", phase="command")
        except TimeoutError:
            self._cut = timed_out = True
            await self._end(self._opening)
        except BaseException as error:
            self._cut = True
            await self._end_for(error, self._opening)
            raise
        finally:
            self.busy = False
        output, found, rest = bytes(self._answers.answer).rpartition(f"\n{word} ".encode())
        if not found:
            if timed_out:
                return Finished(None, bytes(self._answers.answer), b"", True, False)
            raise self._lost(self._answers.failure or ConnectionError("its shell ended"))
        code, _, errors = rest.partition(b"\n")
        return Finished(int(code), output, errors.removesuffix(self._answers.last), timed_out, False)

    def close(self) -> None:
        """End the shell, which has no question left."""
        self._cut = True
        if self._answers.channel is not None:
            self._answers.channel.close()


def _framed(question: str, stdin: bytes, word: str) -> bytes:
    before = f"printf %s {quote_word(stdin.decode('utf-8', 'surrogateescape'))} | " if stdin else ""
    behind = "" if stdin else " </dev/null"
    text = _FRAME.format(before=before, question=question, behind=behind, word=word)
    return text.encode("utf-8", "surrogateescape")


class _Answers(CommandSession):
    """Gather what the shell writes until the word that ends an answer."""

    def __init__(self) -> None:
        super().__init__(0, None)
        self.answer = bytearray()
        self.answered = asyncio.Event()
        self.last = b""
        self.too_long = False

    def expect(self, word: str) -> None:
        """Begin to gather the next answer."""
        self.last = f"\n{word}\n".encode()
        self.answer.clear()
        self.answered.clear()

    def _keep(self, stream: int, data: bytes) -> None:
        if stream == 0 and not self.too_long:
            self.answer += data
            self.too_long = len(self.answer) > ANSWER_LIMIT_BYTES
            if self.too_long or self.answer.endswith(self.last):
                self.answered.set()

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self.answered.set()
