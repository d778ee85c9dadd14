"""Serve one lab host with asyncssh, for machines without sshd.

    python -I asyncssh_server.py WORKS PORT

WORKS/server.json says who may log in, with which environment, in which home. Writes WORKS/server.pid once it listens,
as sshd does.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import json
import os
import pty
import signal
import struct
import sys
import termios
from pathlib import Path
from typing import Any

import asyncssh

_CHUNK = 65536


async def serve(works: Path, port: int) -> None:
    """Listen on a loopback port until killed. Exits with sshd's words when the port is taken."""
    settings = json.loads((works / "server.json").read_text())
    os.chdir(settings["home"])  # where sftp begins
    os.environ.update(settings["env"])

    async def run(process: asyncssh.SSHServerProcess[bytes]) -> None:
        await run_session(process, settings)

    try:
        server = await asyncssh.listen(
            "127.0.0.1",
            port,
            server_host_keys=[settings["host_key"]],
            authorized_client_keys=asyncssh.import_authorized_keys(settings["user_key"] + "\n"),
            process_factory=run,
            sftp_factory=True,
            encoding=None,
            reuse_address=True,
            backlog=1024,
        )
    except OSError as error:
        sys.exit(f"Bind to port {port} failed: {error.strerror or error}")
    (works / "server.pid").write_text(f"{os.getpid()}\n")
    await server.wait_closed()


async def run_session(process: asyncssh.SSHServerProcess[bytes], settings: dict[str, Any]) -> None:
    """Run a client's command, or a login shell, and pass everything between the two."""
    argv = [settings["shell"], "-c", process.command] if process.command else [settings["shell"], "-l"]
    variables = {"PATH": os.defpath, "USER": settings["user"], "SHELL": settings["shell"], **settings["env"]}
    terminal = process.get_terminal_type()
    pipe = asyncio.subprocess.PIPE
    if terminal is None:
        child = await asyncio.create_subprocess_exec(
            *argv, env=variables, stdin=pipe, stdout=pipe, stderr=pipe, start_new_session=True
        )
        assert child.stdin
        assert child.stdout
        assert child.stderr
        outputs = [copy(child.stdout, process.stdout), copy(child.stderr, process.stderr)]
        feeder = asyncio.create_task(feed(process, child, child.stdin, None))
        await asyncio.gather(*outputs)
    else:
        await run_in_terminal(process, argv, {**variables, "TERM": terminal})
        return
    await finish(process, child, feeder)


async def run_in_terminal(
    process: asyncssh.SSHServerProcess[bytes], argv: list[str], variables: dict[str, str]
) -> None:
    """Run a program on a pseudo-terminal of the client's size."""
    master, slave = pty.openpty()
    resize(master, process.term_size)

    def adopt_terminal() -> None:
        os.setsid()
        fcntl.ioctl(0, termios.TIOCSCTTY, 0)

    child = await asyncio.create_subprocess_exec(
        *argv, env=variables, stdin=slave, stdout=slave, stderr=slave, preexec_fn=adopt_terminal
    )
    os.close(slave)
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), os.fdopen(os.dup(master), "rb", 0))
    transport, _ = await loop.connect_write_pipe(asyncio.BaseProtocol, os.fdopen(master, "wb", 0))
    feeder = asyncio.create_task(feed(process, child, transport, master))
    await copy(reader, process.stdout)
    await finish(process, child, feeder)


async def feed(
    process: asyncssh.SSHServerProcess[bytes], child: asyncio.subprocess.Process, sink: Any, terminal: int | None
) -> None:
    """Pass the client's input, signals and window sizes on to the program; on a terminal a lost client is a hang-up."""
    while True:
        try:
            data = await process.stdin.read(_CHUNK)
        except asyncssh.SignalReceived as received:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(child.pid, signal.Signals[f"SIG{received.signal}"])
            continue
        except asyncssh.TerminalSizeChanged as changed:
            if terminal is not None:
                resize(terminal, (changed.width, changed.height, changed.pixwidth, changed.pixheight))
            continue
        except (asyncssh.Error, OSError):
            data = b""
        if not data:
            break
        sink.write(data)
    if terminal is None:
        sink.close()
    elif process.is_closing():
        with contextlib.suppress(ProcessLookupError):
            os.killpg(child.pid, signal.SIGHUP)
    else:
        sink.write(b"\x04")  # as Ctrl-D: a terminal has no other end of input


async def copy(source: asyncio.StreamReader, sink: Any) -> None:
    """Copy one stream of the program to the client; a client that has gone closes it."""
    with contextlib.suppress(OSError, asyncssh.Error):  # EIO is how a terminal ends
        while data := await source.read(_CHUNK):
            sink.write(data)
            await sink.drain()


async def finish(
    process: asyncssh.SSHServerProcess[bytes], child: asyncio.subprocess.Process, feeder: asyncio.Task[None]
) -> None:
    """Tell the client how the program ended."""
    code = await child.wait()
    feeder.cancel()
    with contextlib.suppress(OSError, asyncssh.Error):
        if code < 0:
            process.exit_with_signal(signal.Signals(-code).name.removeprefix("SIG"))
        else:
            process.exit(code)


def resize(terminal: int, size: tuple[int, int, int, int]) -> None:
    """Give a terminal its size: columns, rows, and both in pixels."""
    columns, rows, width, height = size
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, width, height))


if __name__ == "__main__":
    asyncio.run(serve(Path(sys.argv[1]), int(sys.argv[2])))
