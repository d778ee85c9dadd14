"""`sane doctor`: what this machine has, and what is missing for what."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import click

from sane.core.paths import runtime_dir, state_dir
from sane.core.rollout.hints import install_hint
from sane.surfaces.cli.query import answer_options, show


class Finding(NamedTuple):
    """Hold one line of the doctor's answer; `needed` False means that something optional is missing."""

    name: str
    ok: bool
    detail: str
    needed: bool = True


@click.command()
@answer_options()
def doctor(output: str, query: str | None) -> None:
    """Check what this machine has and say what is missing; exit 4 when something needed is.

    \b
    Example:
      sane doctor
      sane doctor --query "[?!ok].name"
    """
    findings = [*_programs(), *_extras(), *_directories()]
    if query or output != "table":
        show([finding._asdict() for finding in findings], output, query)
    else:
        for finding in findings:
            click.echo(f"{_mark(finding)} {finding.name:<22} {finding.detail}")
    if any(f.needed and not f.ok for f in findings):
        raise click.exceptions.Exit(4)


def _mark(finding: Finding) -> str:
    if finding.ok:
        return click.style("✓", "green")
    return click.style("✗", "red") if finding.needed else click.style("·", "bright_black")


def _programs() -> list[Finding]:
    path = os.environ.get("PATH", "") + os.pathsep + "/usr/sbin"
    wanted = (
        ("tmux", ["tmux", "-V"], "panes; install the package tmux", True),
        ("ssh", ["ssh", "-V"], "--via tmux; install the package openssh-client", True),
        ("sshd", ["sshd", "-V"], "sane lab; install the package openssh-server", False),
    )
    findings = [Finding("python", sys.version_info >= (3, 11), sys.version.split()[0])]
    for name, argv, missing, needed in wanted:
        found = shutil.which(name, path=path)
        detail = _version([found, *argv[1:]]) if found else f"missing: needed for {missing}"
        findings.append(Finding(name, found is not None, detail, needed))
    return findings


def _version(argv: list[str]) -> str:
    try:
        done = subprocess.run(argv, capture_output=True, text=True, timeout=5, stdin=subprocess.DEVNULL, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"did not answer: {error}"
    lines = [line for line in (done.stdout + done.stderr).splitlines() if "OpenSSH" in line or "tmux" in line]
    return (lines or [argv[0]])[0].strip()


def _extras() -> list[Finding]:
    wanted = (
        ("mcp", "mcp"),
        ("server", "fastapi"),
        ("agents", "pydantic_ai"),
        ("postgres", "asyncpg"),
        ("redis", "redis"),
    )
    return [
        Finding(
            f"extra: {extra}",
            importlib.util.find_spec(module) is not None,
            "installed" if importlib.util.find_spec(module) else f"not installed. {install_hint(extra)}",
            needed=False,
        )
        for extra, module in wanted
    ]


def _directories() -> list[Finding]:
    runtime = Path(runtime_dir(os.environ, os.getuid()))
    places = (("state directory", state_dir(os.environ)), ("runtime directory", runtime))
    return [_directory(name, path) for name, path in places]


def _directory(name: str, path: Path) -> Finding:
    nearest = path
    while not nearest.exists() and nearest != nearest.parent:
        nearest = nearest.parent
    writable = os.access(nearest, os.W_OK | os.X_OK) and nearest.is_dir()
    return Finding(name, writable, str(path) if writable else f"{path}: {nearest} can't be written")
