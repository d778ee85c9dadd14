"""Settings of the service from the environment and a file."""

from __future__ import annotations

from pathlib import Path

import pytest

from sane.errors import ConfigError
from sane.surfaces.http.settings import Settings, read_settings

ENV = """# of the service
REDIS_URL=redis://localhost:6379/0
export REDIS_PUBSUB_URL="redis://localhost:6379/1"
MONGODB_URL=mongodb://localhost/x
MAX_CONCURRENT_STREAMS=20   # more
SCHEDULERS='0'
LOG_LEVEL=
"""


def test_defaults_a_file_and_the_environment_before_it(tmp_path: Path) -> None:
    assert read_settings({}, tmp_path / "none") == Settings()
    file = tmp_path / ".env"
    file.write_text(ENV)
    found = read_settings({"STREAM_TIMEOUT_SECONDS": "600", "MAX_CONCURRENT_STREAMS": "30", "LOG_LEVEL": "DEBUG"}, file)
    assert found == Settings(
        redis_url="redis://localhost:6379/0",
        redis_pubsub_url="redis://localhost:6379/1",
        max_concurrent_streams=30,
        stream_timeout_seconds=600.0,
        log_level="debug",
        schedulers=False,
    )
    assert read_settings({}, file).max_concurrent_streams == 20


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("MAX_CONCURRENT_STREAMS", "0"),
        ("MAX_CONCURRENT_STREAMS", "1.5"),
        ("STREAM_TIMEOUT_SECONDS", "nan"),
        ("STREAM_TIMEOUT_SECONDS", "5m"),
        ("CIRCUIT_BREAKER_THRESHOLD", "-1"),
        ("LOG_LEVEL", "loud"),
        ("SCHEDULERS", "yes"),
        ("REDIS_URL", "http://user:hunter2@x"),
        ("DATABASE_URL", "mysql://user:hunter2@x"),
    ],
)
def test_a_wrong_value_is_named_with_its_line_and_no_password(tmp_path: Path, name: str, value: str) -> None:
    file = tmp_path / ".env"
    file.write_text(f"# x\n{name}={value}\n")
    with pytest.raises(ConfigError) as wrong:
        read_settings({}, file)
    assert f".env:2: {name} " in wrong.value.message
    assert wrong.value.hint
    assert "hunter2" not in wrong.value.message + wrong.value.hint
    with pytest.raises(ConfigError, match=name):
        read_settings({name: value}, None)


def test_every_mistake_is_shown_and_a_line_that_is_none_is_not(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as wrong:
        read_settings({"SCHEDULERS": "2", "LOG_LEVEL": "x"}, None)
    assert len(wrong.value.problems) == 2
    (tmp_path / ".env").write_text("secret words\n")
    with pytest.raises(ConfigError) as damaged:
        read_settings({}, tmp_path / ".env")
    assert "secret" not in damaged.value.message
