"""Read the user's and the system's OpenSSH configuration, and resolve hosts with it."""

from __future__ import annotations

import getpass
import glob
import os
import socket
import subprocess
from collections.abc import Mapping
from pathlib import Path

from sane.core.ssh.config import Directive, Surroundings, parse_ssh_config
from sane.core.ssh.settings import HostSettings, OverridesOf, resolve_settings
from sane.errors import ConfigError

SYSTEM_CONFIG = "/etc/ssh/ssh_config"
MATCH_EXEC_TIMEOUT_S = 10.0


class SshConfig:
    """Resolve host names; files are read once, on the first name.

    `config` names one file to read in place of ~/.ssh/config and the system's, as `ssh -F` does.
    """

    def __init__(
        self,
        *,
        config: str | None = None,
        environ: Mapping[str, str] | None = None,
        overrides_of: OverridesOf = lambda _: None,
    ) -> None:
        self._config = config
        self._environ = os.environ if environ is None else environ
        self._overrides_of = overrides_of
        self._directives: tuple[Directive, ...] | None = None
        self._around: Surroundings | None = None

    def resolve(self, name: str) -> HostSettings:
        """Return the settings for an inventory name, an alias or `[user@]host[:port]`.

        Raises UsageError and ConfigError.
        """
        if self._directives is None or self._around is None:
            self._around = surroundings(self._environ)
            self._directives = self._read(self._around.home)
        return resolve_settings(name, self._directives, self._around, self._overrides_of)

    def _read(self, home: str) -> tuple[Directive, ...]:
        user = self._config or f"{home}/.ssh/config"
        directives = _read_file(user, f"{home}/.ssh", home, required=self._config is not None)
        if self._config is None:
            directives += _read_file(SYSTEM_CONFIG, "/etc/ssh", home, required=False)
        return directives


def surroundings(environ: Mapping[str, str]) -> Surroundings:
    """Return what resolving needs to know of this machine and its user."""
    return Surroundings(
        home=environ.get("HOME") or str(Path.home()),
        user=getpass.getuser(),
        uid=os.getuid(),
        hostname=socket.gethostname(),
        environ=environ,
        run=_run_condition,
    )


def _run_condition(command: str) -> bool:
    """Return whether a `Match exec` command succeeds; one that outlasts its time does not."""
    shell = os.environ.get("SHELL") or "/bin/sh"
    try:
        return (
            subprocess.run(
                [shell, "-c", command],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                timeout=MATCH_EXEC_TIMEOUT_S,
            ).returncode
            == 0
        )
    except (OSError, subprocess.TimeoutExpired):
        return False


def _read_file(path: str, base: str, home: str, *, required: bool) -> tuple[Directive, ...]:
    def include(pattern: str) -> list[tuple[str, str]]:
        if pattern.startswith("~/"):
            pattern = home + pattern[1:]
        files = sorted(glob.glob(pattern if os.path.isabs(pattern) else f"{base}/{pattern}"))
        return [(name, text) for name in files if (text := _text(name)) is not None]

    text = _text(path)
    if text is None:
        if required:
            raise ConfigError("the file can't be read", file=path)
        return ()
    return parse_ssh_config(text, path, include)


def _text(path: str) -> str | None:
    try:
        return Path(path).read_text("utf-8", "surrogateescape")
    except OSError:
        return None
