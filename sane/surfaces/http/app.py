"""The ASGI application, and a server of it that ends in time."""

from __future__ import annotations

import asyncio
import contextlib
import copy
import signal
import socket
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any

import uvicorn
from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from uvicorn.config import LOGGING_CONFIG

from sane import __version__
from sane.errors import SaneError, UsageError
from sane.surfaces.http.agents import AgentSources
from sane.surfaces.http.credentials import CredentialFile
from sane.surfaces.http.guard import App, Guard
from sane.surfaces.http.listener import BACKLOG, bind_listener, is_loopback, url_of
from sane.surfaces.http.problems import problem, problem_of, problem_of_fields, problem_of_status
from sane.surfaces.http.protocol import TimedProtocol
from sane.surfaces.http.routes import router
from sane.surfaces.http.service import Service, open_service
from sane.surfaces.http.settings import Settings

SHUTDOWN_S = 5
MOST_CONNECTIONS = 1000


def make_app(service: Service, credentials: CredentialFile, *, on_loopback: bool) -> App:
    """Return the application, behind its guard."""
    app = FastAPI(
        title="sane",
        version=__version__,
        description="Answers of agents as streams, the event log, and the state of the service.",
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        exception_handlers={
            SaneError: _answer_sane,
            HTTPException: _answer_http,
            RequestValidationError: _answer_fields,
            TimeoutError: _answer_late,
            Exception: _answer_defect,
        },
    )
    app.state.service = service
    app.include_router(router)
    return Guard(app, credentials, service.hub.shared, on_loopback=on_loopback)


async def _answer_sane(_: Request, error: Any) -> Response:
    return problem_of(error)


async def _answer_http(request: Request, error: Any) -> Response:
    path = request.url.path[:200]
    said = {404: f"there is nothing at {path}", 405: f"there is no {request.method} of {path}"}
    return problem_of_status(error.status_code, said.get(error.status_code, str(error.detail)), error.headers)


async def _answer_fields(_: Request, error: Any) -> Response:
    return problem_of_fields(list(error.errors()))


async def _answer_late(_: Request, error: Any) -> Response:
    return problem(503, "unavailable", "it took too long", "Try again.", {"Retry-After": "5"})


async def _answer_defect(_: Request, error: Any) -> Response:
    return problem(500, "internal", "sane itself failed; its log says how", "Report it with the lines of the log.")


class Server(uvicorn.Server):
    """Serve until SIGINT or SIGTERM, then end what streams, so that every response ends before the deadline."""

    def __init__(self, config: uvicorn.Config, service: Service) -> None:
        super().__init__(config)
        self._service = service

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None]:
        """Stop on SIGINT and SIGTERM without raising them again: the end is a clean one, with status 0."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, self.handle_exit, number, None)
        try:
            yield
        finally:
            for number in (signal.SIGINT, signal.SIGTERM):
                loop.remove_signal_handler(number)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """End the streams, then the connections."""
        await self._service.close()
        await super().shutdown(sockets)


async def serve(
    address: tuple[str, int],
    settings: Settings,
    state_dir: Path,
    sources: AgentSources,
    *,
    announce: Callable[[str], None],
) -> None:
    """Serve at an address until a signal; `announce` gets the URL once connections are taken.

    Raises UsageError for an address that is not loopback while no credential is configured, or that is taken.
    """
    credentials = CredentialFile(state_dir)
    listener = listen(address, has_credential=bool(credentials.load()))
    try:
        on_loopback = is_loopback(listener.getsockname()[0])
        async with open_service(settings, state_dir, sources) as service:
            config = uvicorn.Config(
                make_app(service, credentials, on_loopback=on_loopback),
                log_level=settings.log_level,
                log_config=log_settings(settings.log_level),
                server_header=False,
                proxy_headers=False,
                http=TimedProtocol,
                limit_concurrency=MOST_CONNECTIONS,
                timeout_graceful_shutdown=SHUTDOWN_S,
                lifespan="off",
                ws="none",
            )
            announce(url_of(listener))
            await Server(config, service).serve(sockets=[listener])
    finally:
        listener.close()


def log_settings(level: str) -> dict[str, Any]:
    """Return uvicorn's logging with everything on stderr, and sane's own messages beside it."""
    config: dict[str, Any] = copy.deepcopy(LOGGING_CONFIG)
    config["handlers"]["access"]["stream"] = "ext://sys.stderr"
    config["loggers"]["sane"] = {"handlers": ["default"], "level": level.upper(), "propagate": False}
    return config


def listen(address: tuple[str, int], *, has_credential: bool) -> socket.socket:
    """Return a listening socket. Raises UsageError."""
    host, port = address
    unguarded = UsageError(
        f"{host} is not a loopback address, and no credential is configured",
        hint="Add one: sane server credential add NAME --scope read; or listen on 127.0.0.1.",
    )
    try:
        listener = bind_listener(address, None if has_credential else unguarded)
        listener.listen(BACKLOG)
    except OSError as error:
        raise UsageError(
            f"can't listen on {host}:{port}: {error.strerror}", hint="Choose another with --listen."
        ) from None
    return listener
