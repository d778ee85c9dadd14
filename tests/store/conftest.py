"""A real PostgreSQL for the session, and stores of both kinds for the tests."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

import pytest

from sane.operations.lab.processes import descendants
from sane.store import open_store
from sane.store.base import Store

OpenAnother = Callable[[], Awaitable[Store]]


def postgres_bin() -> Path:
    """Return the directory of the newest installed server's programs (Debian keeps them off PATH)."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/postgres"), key=lambda path: int(path.parts[4]))
    on_path = shutil.which("postgres")
    if not found and not on_path:
        raise FileNotFoundError("no PostgreSQL server; run `bash .ci/setup dev`")
    return found[-1].parent if found else Path(str(on_path)).parent


def as_server_user(argv: list[str]) -> list[str]:
    """Return the command line as a user that the server accepts (not root), ended with the tests however they end."""
    user = ["--reuid=postgres", "--regid=postgres", "--clear-groups"] if os.geteuid() == 0 else []
    return ["setpriv", "--pdeathsig=INT", *user, *argv]


class PostgresServer:
    """A server of its own on a Unix socket, without TCP, that can be stopped and started again."""

    def __init__(self, directory: Path) -> None:
        self.url = f"postgresql://sane@/postgres?host={directory}"
        self._programs, self._directory = postgres_bin(), directory
        self._process: subprocess.Popen[bytes] | None = None

    def make(self) -> None:
        """Make its files."""
        options = ["-U", "sane", "-A", "trust", "-E", "UTF8", "--no-sync", "--no-locale"]
        making = self._run("initdb", *options, output=subprocess.PIPE)
        said, _ = making.communicate(timeout=50)
        assert making.returncode == 0, said.decode(errors="replace")

    def start(self) -> None:
        """Return once it takes connections."""
        settings = {"listen_addresses": "", "unix_socket_directories": str(self._directory), "fsync": "off"}
        options = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
        with (self._directory / "log").open("ab") as log:
            self._process = self._run("postgres", *options, output=log)
        wait_for_server(self._programs, self._directory, self._process)

    def stop(self) -> None:
        """End its connections and then it, as a restart of the service does."""
        if self._process is None:
            return
        self._process.send_signal(signal.SIGINT)
        try:
            self._process.wait(15)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait(5)
        self._process = None

    @contextmanager
    def held(self) -> Iterator[None]:
        """Stop every process of it within the block: connections are accepted, and nobody answers."""
        assert self._process is not None
        pids = [self._process.pid, *descendants({self._process.pid})]
        for pid in pids:
            os.kill(pid, signal.SIGSTOP)
        try:
            yield
        finally:
            for pid in pids:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGCONT)

    def _run(self, program: str, *options: str, output: IO[bytes] | int) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            as_server_user([str(self._programs / program), "-D", f"{self._directory}/data", *options]),
            stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT,
            env={"PATH": os.environ["PATH"], "LC_ALL": "C.UTF-8"}, cwd="/",
        )  # fmt: skip


@contextmanager
def postgres_server() -> Iterator[PostgresServer]:
    """Yield a server that runs; it ends with the block, and leaves nothing behind."""
    directory = Path(tempfile.mkdtemp(prefix="sanepg", dir="/tmp"))
    try:
        if os.geteuid() == 0:
            shutil.chown(directory, "postgres", "postgres")
        server = PostgresServer(directory)
        server.make()
        try:
            server.start()
            yield server
        finally:
            server.stop()
    finally:
        shutil.rmtree(directory, ignore_errors=True)


@pytest.fixture(scope="session")
def postgres_url() -> Iterator[str]:
    """Yield the URL of a server for the session."""
    with postgres_server() as server:
        yield server.url


def wait_for_server(programs: Path, directory: Path, server: subprocess.Popen[bytes]) -> None:
    """Return once the server takes connections."""
    deadline = time.monotonic() + 30
    while subprocess.run([str(programs / "pg_isready"), "-q", "-h", str(directory)], timeout=10).returncode:
        if server.poll() is not None or time.monotonic() > deadline:
            raise RuntimeError((directory / "log").read_text(errors="replace"))
        time.sleep(0.05)


@pytest.fixture
async def postgres_schema_url(postgres_url: str) -> str:
    """Return a URL of an empty schema of its own in that server."""
    import asyncpg

    name = f"s{uuid.uuid4().hex}"
    connection = await asyncpg.connect(postgres_url)
    await connection.execute(f"CREATE SCHEMA {name}")
    await connection.close()
    return f"{postgres_url}&search_path={name}"


@pytest.fixture(params=["sqlite", "postgres"])
def store_url(request: pytest.FixtureRequest) -> str | None:
    """Yield the URL of an empty store of each kind; None is SQLite."""
    return request.getfixturevalue("postgres_schema_url") if request.param == "postgres" else None


@pytest.fixture
async def open_another(store_url: str | None, tmp_path: Path) -> AsyncIterator[OpenAnother]:
    """Yield a function that opens the test's store once more, as another process would."""
    opened: list[Store] = []

    async def another() -> Store:
        opened.append(await open_store(store_url, tmp_path / "state"))
        return opened[-1]

    yield another
    for store in opened:
        await store.close()


@pytest.fixture
async def store(open_another: OpenAnother) -> Store:
    """Return an empty store."""
    return await open_another()
