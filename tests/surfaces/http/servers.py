"""Redis servers, and the service itself, as tests start them."""

from __future__ import annotations

import asyncio
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
import uvicorn

from sane.engine.stream_hub import StreamLimits
from sane.surfaces.http.agents import AgentSources
from sane.surfaces.http.app import Server, listen, make_app, url_of
from sane.surfaces.http.credentials import CredentialFile
from sane.surfaces.http.protocol import TimedProtocol
from sane.surfaces.http.service import Service, open_service
from sane.surfaces.http.settings import Settings
from tests.engine.model_servers import ModelServer

QUESTION = {"messages": [{"role": "user", "content": "hello"}]}


@contextmanager
def redis_server() -> Iterator[str]:
    """Start a Redis of its own on a Unix socket, without TCP, and yield its URL."""
    directory = Path(tempfile.mkdtemp(prefix="sanerd", dir="/tmp"))
    options = ["--port", "0", "--unixsocket", f"{directory}/s", "--save", "", "--dir", str(directory)]
    server = subprocess.Popen(
        ["setpriv", "--pdeathsig=TERM", "redis-server", *options], stdout=subprocess.DEVNULL, cwd=directory
    )
    try:
        deadline = time.monotonic() + 20
        while not (directory / "s").exists():
            assert server.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.01)
        yield f"unix://{directory}/s?db=0"
    finally:
        server.send_signal(signal.SIGKILL)
        server.wait(10)
        shutil.rmtree(directory, ignore_errors=True)


@dataclass
class Served:
    """Hold a running service and a client of it."""

    service: Service
    client: httpx2.AsyncClient
    state_dir: Path

    async def ask(self, agent: str = "fleet", body: Any = QUESTION, **more: Any) -> httpx2.Response:
        """Ask and read the whole answer."""
        return await self.client.post(f"/agent/stream/{agent}", json=body, **more)

    async def wait_for_active(self, count: int, timeout_s: float = 5.0) -> None:
        """Wait until so many places are taken."""
        async with asyncio.timeout(timeout_s):
            while await self.service.hub.shared.count_slots() != count:
                await asyncio.sleep(0.01)


def write_agent(directory: Path, name: str, *models: ModelServer, text: str = "") -> None:
    """Write an agent that asks model endpoints one after another, and the configuration of its models."""
    (directory / "agents").mkdir(parents=True, exist_ok=True)
    (directory / "agents" / f"{name}.yaml").write_text("instructions: be brief\nmodel: m0\n")
    entries = ""
    for number, server in enumerate(models):
        rest = f", fallback: [m{number + 1}]" if number + 1 < len(models) else ""
        entries += (
            f"  m{number}: {{provider: openai, model: fake, base_url: '{server.openai_url}', timeout: 20s{rest}}}\n"
        )
    (directory / "watch.yaml").write_text(f"models:\n{entries}{text}")


@asynccontextmanager
async def serving(
    directory: Path, settings: Settings | None = None, limits: StreamLimits | None = None, **headers: str
) -> AsyncIterator[Served]:
    """Serve on loopback in this loop, over real connections."""
    credentials = CredentialFile(directory)
    config = directory / "watch.yaml"
    sources = AgentSources(
        directory / "agents" if config.exists() else None, config if config.exists() else None, None, {}
    )
    async with open_service(settings or Settings(), directory, sources, limits=limits) as service:
        listener = listen(("127.0.0.1", 0), has_credential=False)
        app = make_app(service, credentials, on_loopback=True)
        uvicorn_config = uvicorn.Config(
            app, http=TimedProtocol, log_config=None, lifespan="off", ws="none", timeout_graceful_shutdown=5
        )
        server = Server(uvicorn_config, service)
        task = asyncio.create_task(server._serve(sockets=[listener]))
        try:
            async with httpx2.AsyncClient(
                base_url=url_of(listener), timeout=15, headers=headers, trust_env=False
            ) as client:
                yield Served(service, client, directory)
        finally:
            server.should_exit = True
            await asyncio.wait_for(task, 12)
            listener.close()
