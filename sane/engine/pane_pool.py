"""Panes that stay open between calls, each lent to one caller at a time.

A name such as `work:1.0` is resolved anew for every call, over a connection that is open anyway: a pane that was
closed, moved or replaced meanwhile is noticed.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable

from sane.core.target import Target
from sane.errors import SaneError
from sane.transports.base import Machine
from sane.transports.control_mode import tmux_word
from sane.transports.pane import PaneTransport
from sane.transports.tmux import LIST_FORMAT, PaneInfo, TmuxServer, choose_pane, parse_panes

IDLE_S = 15.0  # a pane nobody asked for is detached then: an attached client is seen in `tmux list-clients`
MOST_IDLE = 16
MOST_DROPPED_BYTES = 1 << 20  # a session that prints more while nobody asks is not worth following

_Key = tuple[str | None, str]  # host, pane id


class PanePool:
    """Lend panes; `machine_of` gives the machine behind a host name."""

    def __init__(self, machine_of: Callable[[str | None], Awaitable[Machine]]) -> None:
        self._machine_of = machine_of
        self._idle: dict[_Key, tuple[PaneTransport, asyncio.Task[None]]] = {}
        self._closing: set[asyncio.Task[None]] = set()

    async def lend(self, target: Target) -> PaneTransport:
        """Return the pane a target names, for this caller alone until it is given back.

        Raises NotFoundError, UsageError, TransportError.
        """
        spec = target.pane or ""
        server = TmuxServer(await self._machine_of(target.host))
        asked, panes = await self._list(server, target.host, spec)
        try:
            info = choose_pane(panes, spec)
        except SaneError:
            self._give_back(target.host, asked)
            raise
        if asked is not None and not _is_same(asked.pane, info):
            self._give_back(target.host, asked)
            asked = await self._take((target.host, info.pane_id))
            if asked is not None and not _is_same(asked.pane, info):
                await asked.close()
                asked = None
        if asked is None:
            return PaneTransport(server, info, spec)
        asked.pane, asked.name = info, spec
        return asked

    async def find(self, target: Target) -> PaneInfo:
        """Return what tmux says of the pane a target names. Raises NotFoundError, UsageError, TransportError."""
        server = TmuxServer(await self._machine_of(target.host))
        asked, panes = await self._list(server, target.host, target.pane or "")
        self._give_back(target.host, asked)
        return choose_pane(panes, target.pane or "")

    def give_back(self, host: str | None, transport: PaneTransport) -> None:
        """Keep a pane for the next caller. One whose call failed or was cancelled is to be closed, not given back."""
        key = (host, transport.pane_id)
        if key in self._idle:  # another caller of the same pane gave it back already
            self._close_later(transport)
            return
        self._idle[key] = transport, asyncio.ensure_future(self._rest(key, transport))
        while len(self._idle) > MOST_IDLE:
            transport, task = self._idle.pop(next(iter(self._idle)))
            task.cancel()
            self._close_later(transport)

    async def close(self) -> None:
        """Detach from every idle pane."""
        for key in list(self._idle):
            transport = await self._take(key)
            if transport is not None:
                self._close_later(transport)
        while self._closing:
            await asyncio.gather(*self._closing, return_exceptions=True)

    async def _rest(self, key: _Key, transport: PaneTransport) -> None:
        """Read and drop what an idle pane prints, which would pile up in tmux; close the pane when its time is over."""
        until = time.monotonic() + IDLE_S
        try:
            client = await transport.client()
            most = client.output_bytes + MOST_DROPPED_BYTES
            while not client.closed and client.output_bytes < most and await client.pump(until):
                pass
        except SaneError:
            pass  # it can't be attached or read: as good as closed
        self._idle.pop(key, None)
        await transport.close()

    async def _list(
        self, server: TmuxServer, host: str | None, spec: str
    ) -> tuple[PaneTransport | None, list[PaneInfo]]:
        """Return the panes of a host, and the open pane that was taken to ask for them."""
        asked = await self._take_any(host, spec)
        if asked is not None:
            try:
                client = await asked.client()
                (listed,) = await client.ask(f"list-panes -a -F {tmux_word(LIST_FORMAT)}")
                if listed.ok:
                    return asked, parse_panes("\n".join(listed.lines))
            except SaneError:
                pass  # the session or the server has gone: ask anew
            except BaseException:
                self._close_later(asked)
                raise
            await asked.close()
        return None, await server.list_panes()

    async def _take_any(self, host: str | None, spec: str) -> PaneTransport | None:
        while keys := [key for key in self._idle if key[0] == host]:
            by_name = [key for key in keys if spec in (key[1], self._idle[key][0].name)]
            transport = await self._take((by_name or keys)[0])
            if transport is not None:
                return transport
        return None

    async def _take(self, key: _Key) -> PaneTransport | None:
        transport, task = self._idle.pop(key, (None, None))
        if transport is not None and task is not None:
            task.cancel()
            try:
                await asyncio.wait({task})
            except BaseException:  # nobody else knows of it any more
                self._close_later(transport)
                raise
        return transport

    def _give_back(self, host: str | None, transport: PaneTransport | None) -> None:
        if transport is not None:
            self.give_back(host, transport)

    def _close_later(self, transport: PaneTransport) -> None:
        task = asyncio.ensure_future(transport.close())
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)


def _is_same(opened: PaneInfo, now: PaneInfo) -> bool:
    """Return whether an open pane is still that one; moved to another session, its output would not be seen."""
    return (opened.pane_id, opened.session_id) == (now.pane_id, now.session_id)
