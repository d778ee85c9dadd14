"""The warm helper: a process that has imported what calls need, and keeps the panes and connections they use open.

It serves the user who started it alone, on a Unix socket (0600, in a folder of mode 0700; the caller's user id is
checked). It carries out only calls that see the same environment as it does itself. It ends after a time without a
call, when the code on disk or the interpreter is another one, when the tmux server ends, and when its socket is taken
away. Calls over SSH have a helper of their own, which outlives the tmux server.
"""

from __future__ import annotations

import time

STARTED_NS = time.time_ns() - 50_000_000  # a file's time may be that much behind the clock

import asyncio  # noqa: E402
import contextlib  # noqa: E402
import importlib  # noqa: E402
import os  # noqa: E402
import signal  # noqa: E402
import traceback  # noqa: E402
from collections.abc import AsyncGenerator, Callable, Mapping  # noqa: E402

from sane.core.target import parse_target  # noqa: E402
from sane.engine.call import CallContext  # noqa: E402
from sane.engine.context import AsyncContext  # noqa: E402
from sane.errors import SaneError  # noqa: E402
from sane.surfaces.cli import warm  # noqa: E402
from sane.surfaces.cli.arguments import Arguments  # noqa: E402
from sane.surfaces.cli.primitive import TARGET_PARAMETERS, Said, ask_for, say_answer, say_error  # noqa: E402
from sane.surfaces.cli.warm_end import CodeOnDisk, peer_of, process_behind  # noqa: E402
from sane.surfaces.cli.warm_hosts import WarmHosts  # noqa: E402
from sane.surfaces.cli.warm_start import LOCK_FD  # noqa: E402
from sane.transports.tmux import tmux_socket  # noqa: E402
from sane.verbs.registry import Verb, load_verb  # noqa: E402

IDLE_S = 60.0
CHECK_S = 1.0  # how often to look whether there is a reason to end
MOST_CALLS = 64
REQUEST_LIMIT_S = 5.0
REQUEST_LIMIT_BYTES = 8 << 20  # a command line is at most 2 MB on Linux
STDIN_LIMIT_BYTES = 256 << 20
FIRST_NEEDED = ("sane.engine.pane_pool", "sane.transports.pane_files", "sane.transports.shell_syntax")
FIRST_NEEDED_OVER_SSH = ("sane.transports.ssh", "sane.transports.ssh_machine", *FIRST_NEEDED)


def main(*, ssh: bool) -> None:
    """Serve until there is a reason to end. Descriptor 3 is the lock that says a helper lives."""
    if os.fork():
        os._exit(0)
    os.closerange(LOCK_FD + 1, 4096)
    os.chdir("/")
    os.umask(0o077)
    asyncio.run(_serve(ssh=ssh))


async def _serve(*, ssh: bool) -> None:
    seen = warm.seen_environment(ssh=ssh)
    helper = WarmCalls(seen, os.fsdecode(warm.socket_path(seen)), idle_s=_idle_s(os.environ), ssh=ssh)
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
        loop.add_signal_handler(number, helper.end)
    await helper.serve()


def _idle_s(environ: Mapping[str, str]) -> float:
    try:
        return float(environ.get("SANE_HELPER_IDLE_S", IDLE_S))
    except ValueError:
        return IDLE_S


Opening = Callable[[Mapping[str, object], Callable[[str], None]], contextlib.AbstractAsyncContextManager["CallContext"]]


class _StdinWantedError(Exception):
    """Say that a command line asks for the caller's standard input."""


class WarmCalls:
    """Carry out the calls of one user in one environment."""

    def __init__(self, seen: bytes, path: str, *, idle_s: float, ssh: bool) -> None:
        self._seen = seen
        self._path = path
        self._idle_s = idle_s
        self._code = CodeOnDisk(STARTED_NS)
        self._context = AsyncContext(None)
        self._hosts = WarmHosts() if ssh else None
        self._calls: set[asyncio.Task[None]] = set()
        self._last_s = time.monotonic()
        self._ended = asyncio.Event()
        self._inode = 0

    async def serve(self) -> None:
        """Serve until `end` is called, which stops the running calls, or until there is a reason to end."""
        for module in FIRST_NEEDED if self._hosts is None else FIRST_NEEDED_OVER_SSH:
            importlib.import_module(module)
        for name in warm.VERBS:
            load_verb(name)
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self._path)  # left by one that was killed: we hold the lock
        before = os.umask(0o177)  # the socket is 0600 from its first moment
        server = await asyncio.start_unix_server(self._accept, self._path)
        os.umask(before)
        self._inode = os.stat(self._path).st_ino
        tmux_fd = process_behind(tmux_socket(os.environ, os.getuid())) if self._hosts is None else None
        if tmux_fd is not None:
            self._end_with(tmux_fd)
        try:
            while not self._ended.is_set() and not self._should_end():
                if self._hosts is not None:
                    self._hosts.close_idle()
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(CHECK_S):
                        await self._ended.wait()
        finally:
            if self._is_ours():
                os.unlink(self._path)
            server.close()
            await self._finish()

    def end(self) -> None:
        """Stop the running calls and end."""
        self._ended.set()
        for call in self._calls:
            call.cancel()

    async def _finish(self) -> None:
        while self._calls:
            await asyncio.wait(self._calls)
        await self._context.close()
        if self._hosts is not None:
            await self._hosts.close()

    @contextlib.asynccontextmanager
    async def _open(self, values: Mapping[str, object], report: Callable[[str], None]) -> AsyncGenerator[CallContext]:
        """Yield the context of a call with these arguments."""
        async with contextlib.AsyncExitStack() as stack:
            context = self._context
            if self._hosts is not None:
                target = parse_target(next(str(values[name]) for name in TARGET_PARAMETERS if name in values))
                context = await stack.enter_async_context(self._hosts.lend(target.host or ""))
            yield await stack.enter_async_context(context.call(report))

    def _should_end(self) -> bool:
        if self._calls:
            return False
        idle = time.monotonic() - self._last_s >= self._idle_s
        return idle or not self._is_ours() or self._code.has_changed()

    def _end_with(self, tmux_fd: int) -> None:
        """End when the tmux server does, whose panes are all that is served here."""
        loop = asyncio.get_running_loop()

        def end() -> None:
            loop.remove_reader(tmux_fd)
            self._ended.set()

        loop.add_reader(tmux_fd, end)

    def _is_ours(self) -> bool:
        try:
            return os.stat(self._path).st_ino == self._inode
        except OSError:
            return False

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        call = asyncio.ensure_future(self._carry_out(reader, writer))
        self._calls.add(call)
        call.add_done_callback(self._calls.discard)

    async def _carry_out(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            if peer_of(writer.get_extra_info("socket"))[1] != os.geteuid():
                return
            async with asyncio.timeout(REQUEST_LIMIT_S):
                request = await _receive(reader, REQUEST_LIMIT_BYTES)
            seen, name, *words = _parts_of(request)
            self._last_s = time.monotonic()
            if seen != self._seen or len(self._calls) > MOST_CALLS or self._ended.is_set():
                writer.write(warm.REFUSED)
            elif self._code.has_changed():
                writer.write(warm.REFUSED)
                self._ended.set()
            else:
                writer.write(warm.ACCEPTED)
                await _Call(self._open, reader, writer).follow(name.decode(), [_text(word) for word in words])
                self._last_s = time.monotonic()
        except (OSError, EOFError, ValueError, TimeoutError):
            pass  # the caller has gone, or is none of ours
        finally:
            with contextlib.suppress(OSError):
                writer.close()


class _Call:
    """Carry one call out, and stop it when its caller goes away or asks for it."""

    def __init__(self, opening: Opening, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._opening = opening
        self._reader = reader
        self._writer = writer

    async def follow(self, name: str, words: list[str]) -> None:
        """Carry it out and tell the caller what a call without a helper would say."""
        try:
            asked = await self._ask_for(name, words)
            said = asked if isinstance(asked, Said) else await self._watch(name, words, *asked)
        except SaneError as error:
            said = say_error(name, error, words)
        self._send(warm.OUT, said.out)
        self._send(warm.ERR, said.err)
        self._writer.write(warm.EXIT + said.status.to_bytes(4, "big"))
        await self._writer.drain()

    async def _ask_for(self, name: str, words: list[str]) -> tuple[Verb, Arguments] | Said:
        def want() -> bytes:
            raise _StdinWantedError

        try:
            return ask_for(name, words, want)
        except _StdinWantedError:
            self._writer.write(warm.STDIN)
            data = await _receive(self._reader, STDIN_LIMIT_BYTES)
            return ask_for(name, words, lambda: data)

    async def _watch(self, name: str, words: list[str], verb: Verb, arguments: Arguments) -> Said:
        """Perform the verb; stop it when the caller goes away (end of file) or asks for it (CANCEL)."""
        work = asyncio.ensure_future(self._perform(verb, arguments))
        stop = asyncio.ensure_future(self._reader.read(1))
        try:
            await asyncio.wait({work, stop}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            stop.cancel()
            if not work.done():
                work.cancel()
                await asyncio.wait({work})
        if work.cancelled():
            return Said(130)
        try:
            return say_answer(verb, arguments, work.result())
        except SaneError as error:
            return say_error(name, error, words)
        except Exception:
            return Said(1, "", traceback.format_exc())

    async def _perform(self, verb: Verb, arguments: Arguments) -> object:
        async with self._opening(arguments.values, lambda message: self._send(warm.ERR, message + "\n")) as call:
            return await verb.function(call, **arguments.values)

    def _send(self, kind: bytes, text: str) -> None:
        if text:
            data = text.encode("utf-8", "surrogateescape")
            self._writer.write(b"%b%b%b" % (kind, len(data).to_bytes(4, "big"), data))


async def _receive(reader: asyncio.StreamReader, limit_bytes: int) -> bytes:
    size = int.from_bytes(await reader.readexactly(4), "big")
    if size > limit_bytes:
        raise ValueError("the request is too large")
    return await reader.readexactly(size)


def _parts_of(request: bytes) -> list[bytes]:
    parts: list[bytes] = []
    at = 0
    while at < len(request):
        colon = request.index(b":", at)
        end = colon + 1 + int(request[at:colon])
        parts.append(request[colon + 1 : end])
        at = end
    return parts


def _text(word: bytes) -> str:
    return word.decode("utf-8", "surrogateescape")
