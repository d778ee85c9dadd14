"""What the environment and a `.env` file say about the service, checked."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from sane.errors import ConfigError, Problem

LOG_LEVELS = ("debug", "info", "warning", "error", "critical")
NAMES = (
    "REDIS_URL",
    "REDIS_PUBSUB_URL",
    "DATABASE_URL",
    "MAX_CONCURRENT_STREAMS",
    "STREAM_TIMEOUT_SECONDS",
    "STREAM_RESUME_SECONDS",
    "CIRCUIT_BREAKER_THRESHOLD",
    "LOG_LEVEL",
    "SCHEDULERS",
)
MOST_ENV_BYTES = 1 << 16
_LINE = re.compile(r"(?:export\s+)?([A-Za-z_][A-Za-z0-9_]*)\s*=\s*(.*)")
_QUOTED = re.compile(r"""(?:"((?:[^"\\]|\\.)*)"|'([^']*)')\s*(?:#.*)?""")


@dataclass(frozen=True, slots=True)
class Settings:
    """Hold the service's settings; the defaults are those of a service alone on its machine."""

    redis_url: str = ""
    redis_pubsub_url: str = ""
    database_url: str = ""
    max_concurrent_streams: int = 10
    stream_timeout_seconds: float = 300.0
    stream_resume_seconds: float = 2.0
    circuit_breaker_threshold: int = 5
    log_level: str = "info"
    schedulers: bool = True


def read_settings(environ: Mapping[str, str], env_file: Path | None) -> Settings:
    """Return the settings; the environment goes before the file, which need not exist.

    Raises ConfigError naming every value that is wrong, and for a file that can't be read.
    """
    values = dict.fromkeys(NAMES, ("", "", 0))
    if env_file is not None and env_file.exists():
        values |= {name: found for name, found in read_env_file(env_file).items() if name in NAMES}
    values |= {name: (environ[name].strip(), "", 0) for name in NAMES if environ.get(name, "").strip()}
    reader = _Reader({name: value for name, value in values.items() if value[0]})
    settings = Settings(
        reader.url("REDIS_URL", ("redis", "rediss", "unix")),
        reader.url("REDIS_PUBSUB_URL", ("redis", "rediss", "unix")),
        reader.url("DATABASE_URL", ("postgresql", "postgres")),
        int(reader.number("MAX_CONCURRENT_STREAMS", 10, 1, 100_000, whole=True)),
        reader.number("STREAM_TIMEOUT_SECONDS", 300, 0.1, 86_400),
        reader.number("STREAM_RESUME_SECONDS", 2, 0, 3_600),
        int(reader.number("CIRCUIT_BREAKER_THRESHOLD", 5, 1, 1_000_000, whole=True)),
        reader.choice("LOG_LEVEL", "info", LOG_LEVELS),
        reader.choice("SCHEDULERS", "1", ("0", "1")) == "1",
    )
    if reader.problems:
        raise ConfigError.of(reader.problems)
    return settings


class _Reader:
    def __init__(self, values: Mapping[str, tuple[str, str, int]]) -> None:
        self._values = values
        self.problems: list[Problem] = []

    def number(self, name: str, default: float, low: float, high: float, *, whole: bool = False) -> float:
        text = self._values.get(name, ("", "", 0))[0]
        if not text:
            return default
        try:
            value = int(text) if whole else float(text)
        except ValueError:
            value = float("nan")
        if not low <= value <= high:
            kind = "a whole number" if whole else "a number"
            self._refuse(name, f"must be {kind} from {low:g} to {high:g}, got '{text[:40]}'", f"Default: {default:g}.")
            return default
        return value

    def choice(self, name: str, default: str, valid: tuple[str, ...]) -> str:
        text = self._values.get(name, (default, "", 0))[0].lower()
        if text not in valid:
            self._refuse(name, f"is '{text[:40]}'", f"Write one of {', '.join(valid)}.")
        return text

    def url(self, name: str, schemes: tuple[str, ...]) -> str:
        text = self._values.get(name, ("", "", 0))[0]
        if text and text.partition("://")[0] not in schemes:  # the value may hold a password: never shown
            self._refuse(name, f"must start with {schemes[0]}://", f"Write {schemes[0]}://HOST/…, or unset it.")
        return text

    def _refuse(self, name: str, message: str, hint: str) -> None:
        _, file, line = self._values[name]
        self.problems.append(Problem(f"{name} {message}", file, line, hint=hint))


def read_env_file(path: Path) -> dict[str, tuple[str, str, int]]:
    """Return name -> (value, file, line) of lines `NAME=value`, `export NAME="value"` and `# comments`.

    Raises ConfigError for a line that is neither; its text is not shown, since such files hold passwords.
    """
    try:
        with path.open("rb") as file:
            text = file.read(MOST_ENV_BYTES + 1).decode()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"it can't be read: {error}", file=str(path)) from None
    if len(text.encode()) > MOST_ENV_BYTES:
        raise ConfigError(f"it is larger than {MOST_ENV_BYTES} bytes", file=str(path))
    found: dict[str, tuple[str, str, int]] = {}
    for number, line in enumerate(text.splitlines(), 1):
        line = line.strip()
        if not line or line.startswith("#"):
            continue
        match = _LINE.fullmatch(line)
        if match is None:
            raise ConfigError("this line is not NAME=value", file=str(path), line=number)
        found[match[1]] = (_value_of(match[2]), str(path), number)
    return found


def _value_of(text: str) -> str:
    quoted = _QUOTED.fullmatch(text)
    if quoted is None:
        return re.split(r"\s#|^#", text)[0].strip()
    if quoted[2] is not None:
        return quoted[2]
    return re.sub(r"\\(.)", lambda escaped: {"n": "\n", "t": "\t"}.get(escaped[1], escaped[1]), quoted[1])
