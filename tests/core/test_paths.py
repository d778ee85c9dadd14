"""Where sane keeps its own state."""

from __future__ import annotations

import os
import pwd
from pathlib import Path

import pytest

from sane.core.paths import home_dir, runtime_dir, state_dir
from sane.primitives._friction import log_path

OWN = pwd.getpwuid(os.getuid()).pw_dir


@pytest.mark.parametrize("environ", [{}, {"HOME": ""}])
def test_without_home_it_is_the_one_in_the_user_database(environ: dict[str, str]) -> None:
    assert home_dir(environ) == OWN
    assert state_dir(environ) == Path(OWN) / ".local" / "state" / "sane"
    assert log_path(None, environ) == Path(OWN) / ".tmux-sane" / "friction.jsonl"
    assert log_path("~/x", environ) == Path(OWN) / "x"


def test_the_environment_comes_first() -> None:
    assert home_dir({"HOME": "/h"}) == "/h"
    assert str(state_dir({"HOME": "/h"})) == "/h/.local/state/sane"
    assert str(state_dir({"HOME": "/h", "XDG_STATE_HOME": "/x"})) == "/x/sane"
    assert str(state_dir({"HOME": "/h", "SANE_STATE_DIR": "/s"})) == "/s"
    assert runtime_dir({}, 7) == "/tmp/sane-7"
