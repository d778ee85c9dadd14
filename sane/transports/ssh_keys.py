"""The keys of the user at this end: files loaded once, the agent asked once."""

from __future__ import annotations

import asyncio
import copy
import os
from dataclasses import dataclass

from sane.core.ssh.known_hosts import fingerprint
from sane.core.ssh.settings import HostSettings
from sane.transports.ssh_library import asyncssh

AGENT_TIMEOUT_S = 5.0

_Agent = tuple[asyncssh.SSHAgentClient, tuple[asyncssh.SSHKeyPair, ...]]


@dataclass(frozen=True, slots=True)
class UserKeys:
    """Hold what to offer a host, in order, and a few words on each key for whoever reads of a refusal."""

    pairs: tuple[asyncssh.SSHKeyPair, ...]
    words: tuple[str, ...]


class UserKeyring:
    """Load key files and open agents once; close the agents at the end."""

    def __init__(self) -> None:
        self._files: dict[tuple[str, tuple[str, ...]], tuple[asyncssh.SSHKeyPair, ...] | str] = {}
        self._agents: dict[str, asyncio.Task[_Agent | str]] = {}

    async def keys_for(self, settings: HostSettings) -> UserKeys:
        """Return the keys to offer a host: the agent's first, then the files, as OpenSSH orders them."""
        pairs: list[asyncssh.SSHKeyPair] = []
        words: list[str] = []
        held = {_public_data(path) for path in settings.keys} if settings.identities_only and settings.agent else None
        from_agent = await self._from_agent(settings.agent) if settings.agent else ()
        if isinstance(from_agent, str):
            words.append(from_agent)
            from_agent = ()
        for pair in from_agent:
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
        return UserKeys(tuple(copy.copy(pair) for pair in pairs), tuple(words))

    def _load(self, path: str, certificates: tuple[str, ...]) -> tuple[asyncssh.SSHKeyPair, ...] | str:
        key = (path, certificates)
        if key not in self._files:
            self._files[key] = _load_file(path, certificates)
        return self._files[key]

    async def _from_agent(self, path: str) -> tuple[asyncssh.SSHKeyPair, ...] | str:
        if path not in self._agents:
            self._agents[path] = asyncio.create_task(_open_agent(path), name=f"ssh agent {path}")
        answer = await asyncio.shield(self._agents[path])
        return answer if isinstance(answer, str) else answer[1]

    async def close(self) -> None:
        """Close the agents."""
        agents, self._agents = self._agents, {}
        for task in agents.values():
            answer = await task
            if not isinstance(answer, str):
                answer[0].close()


async def _open_agent(path: str) -> _Agent | str:
    try:
        async with asyncio.timeout(AGENT_TIMEOUT_S):
            agent = await asyncssh.connect_agent(path)
            return agent, tuple(await agent.get_keys())
    except (OSError, ValueError, asyncssh.Error) as error:
        return f"agent {path} does not answer ({type(error).__name__})"


def _load_file(path: str, certificates: tuple[str, ...]) -> tuple[asyncssh.SSHKeyPair, ...] | str:
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
