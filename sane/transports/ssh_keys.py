"""The keys of the user at this end: files loaded once, the agent asked once, until that changes.

A process may live for days, and its user adds keys and renews certificates meanwhile: a file that changed is loaded
again, and the agent is asked again when a login is refused.
"""

from __future__ import annotations

import asyncio
import contextlib
import copy
import os
from dataclasses import dataclass

from sane.core.ssh.known_hosts import fingerprint
from sane.core.ssh.settings import HostSettings
from sane.transports.ssh_library import asyncssh

AGENT_TIMEOUT_S = 5.0

_Pairs = tuple[asyncssh.SSHKeyPair, ...]
_Agent = tuple[asyncssh.SSHAgentClient, _Pairs]
_Stamp = tuple[tuple[int, int, int], ...]


@dataclass(frozen=True, slots=True)
class UserKeys:
    """Hold what to offer a host, in order, and a few words on each key for whoever reads of a refusal.

    `asked` is the question to the agent that they come from, if any.
    """

    pairs: _Pairs
    words: tuple[str, ...]
    asked: asyncio.Task[_Agent | str] | None = None

    @property
    def offers(self) -> list[bytes]:
        """Return the public halves, in order."""
        return [pair.public_data for pair in self.pairs]


class UserKeyring:
    """Load key files and open agents once for many hosts; close the agents at the end."""

    def __init__(self) -> None:
        self._files: dict[tuple[str, tuple[str, ...]], tuple[_Stamp, _Pairs | str]] = {}
        self._agents: dict[str, asyncio.Task[_Agent | str]] = {}

    async def keys_for(self, settings: HostSettings) -> UserKeys:
        """Return the keys to offer a host: the agent's first, then the files, as OpenSSH orders them."""
        pairs: list[asyncssh.SSHKeyPair] = []
        words: list[str] = []
        held = {_public_data(path) for path in settings.keys} if settings.identities_only and settings.agent else None
        asked = self._ask(settings.agent) if settings.agent else None
        answer = await asyncio.shield(asked) if asked is not None else ""
        if isinstance(answer, str) and answer:
            words.append(answer)
        for pair in () if isinstance(answer, str) else answer[1]:
            if held is None or pair.public_data in held:
                pairs.append(pair)
                words.append(f"agent key {fingerprint(pair.public_data)}")
        known = {pair.public_data for pair in pairs}
        for path in settings.keys:
            loaded = self._load(path, settings.certificates)
            if isinstance(loaded, str):
                if settings.keys_given or "does not exist" not in loaded:
                    words.append(loaded)
                continue
            pairs += [pair for pair in loaded if pair.public_data not in known]
            words += [f"{path} {fingerprint(pair.public_data)}" for pair in loaded if pair.public_data not in known]
        # A pair remembers which signature its server takes, so each connection gets its own copies.
        return UserKeys(tuple(copy.copy(pair) for pair in pairs), tuple(words), asked)

    async def renew(self, settings: HostSettings, refused: UserKeys) -> UserKeys:
        """Return the keys to offer a host that took none of those, the agent asked again.

        All whose keys came from one answer of the agent share the next one.
        """
        agent, asked = settings.agent, refused.asked
        if agent is not None and asked is not None and self._agents.get(agent) is asked:
            self._agents[agent] = asyncio.create_task(_ask_again(agent, asked), name=f"ssh agent {agent}")
        return await self.keys_for(settings)

    def _load(self, path: str, certificates: tuple[str, ...]) -> _Pairs | str:
        stamp = _stamp(path, certificates)
        held = self._files.get((path, certificates))
        if held is None or held[0] != stamp:
            held = self._files[path, certificates] = stamp, _load_file(path, certificates)
        return held[1]

    def _ask(self, path: str) -> asyncio.Task[_Agent | str]:
        if path not in self._agents:
            self._agents[path] = asyncio.create_task(_ask_agent(path), name=f"ssh agent {path}")
        return self._agents[path]

    async def close(self) -> None:
        """Close the agents."""
        agents, self._agents = self._agents, {}
        for task in agents.values():
            answer = await task
            if not isinstance(answer, str):
                answer[0].close()


async def _ask_agent(path: str, client: asyncssh.SSHAgentClient | None = None) -> _Agent | str:
    try:
        async with asyncio.timeout(AGENT_TIMEOUT_S):
            if client is not None:
                with contextlib.suppress(OSError, ValueError):  # the agent was started anew
                    return client, tuple(await client.get_keys())
                client.close()
            client = await asyncssh.connect_agent(path)
            return client, tuple(await client.get_keys())
    except (OSError, ValueError, asyncssh.Error) as error:
        if client is not None:
            client.close()
        return f"agent {path} does not answer ({type(error).__name__})"


async def _ask_again(path: str, asked: asyncio.Task[_Agent | str]) -> _Agent | str:
    answer = await asked
    return await _ask_agent(path, None if isinstance(answer, str) else answer[0])


def _stamp(path: str, certificates: tuple[str, ...]) -> _Stamp:
    """Return what changes with a key file and all that is read beside it, its mode among that."""
    found: list[tuple[int, int, int]] = []
    for name in (path, f"{path}.pub", f"{path}-cert.pub", *certificates):
        try:
            status = os.stat(name)
            found.append((status.st_mtime_ns, status.st_ctime_ns, status.st_size))
        except OSError:
            found.append((0, 0, 0))
        if not any(found[0]):
            break  # most hosts have one of the default keys, and what is beside one that is missing is not read
    return tuple(found)


def _load_file(path: str, certificates: tuple[str, ...]) -> _Pairs | str:
    if not os.path.exists(path):
        return f"{path} (does not exist)"
    try:
        present = [name for name in certificates if os.path.exists(name)]
        return tuple(asyncssh.load_keypairs(path, certlist=present))
    except asyncssh.KeyEncryptionError:
        return f"{path} (needs its passphrase: add it to ssh-agent)"
    except asyncssh.KeyImportError as error:
        if "passphrase" in str(error).lower():
            return f"{path} (needs its passphrase: add it to ssh-agent)"
        return f"{path} (is no private key)"
    except ValueError as error:
        return f"{path} ({error}: look at {path}.pub)"
    except OSError as error:
        return f"{path} ({error.strerror})"


def _public_data(path: str) -> bytes:
    """Return the public half of an identity file, empty when it can't be had without a passphrase."""
    for name in (path if path.endswith(".pub") else f"{path}.pub", path):
        try:
            return asyncssh.read_public_key(name).public_data
        except (OSError, asyncssh.KeyImportError):
            continue
    return b""
