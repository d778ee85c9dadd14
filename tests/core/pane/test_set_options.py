"""Which texts turn an option of their shell off."""

from __future__ import annotations

import time

import pytest

from sane.core.pane.set_options import turned_off

OFF = [
    "set +e",
    "set +o errexit",
    "set +o pipefail +e",
    "set -u +xe",
    "true; set +ue && echo a",
    "shopt -uo errexit",
    "shopt -o -u pipefail errexit",
    "builtin set +e",
    "\\set +e",
    "if true; then set +e; fi",
    "{ set +e; }",
    "f() { set +e; }; f",
    "unsetopt errexit",
    "unsetopt pipe_fail ERR_EXIT",
    "setopt no_err_exit",
    "setopt noerrexit",
    "set '+e'",
    "eval 'set +e'",
    'eval "set +e; echo a"',
    "a=1 set +e",
    "cd /tmp\nset +e\n",
    "cat <<E; set +e\ntext\nE\n",
    "echo $((1<<n))\nset +e",
    "set -e; set +e",
]
KEPT = [
    'echo "docs say: set +e is fine"',
    "echo 'set +e'",
    "echo set +e",
    "true # set +e",
    "set -e",
    "set +x",
    "set -o errexit",
    "set -- +e",
    "set a +e",
    "(set +e; false)",
    "x=$(set +e; false)",
    "bash -c 'set +e'",
    "cat <<E\nset +e\nE",
    "cat <<-'END'\n\tset +e\n\tEND\necho a",
    "shopt -o errexit",
    "shopt -u extglob",
    "setopt err_exit",
    "unsetopt xtrace",
    "set +e; set -e",
    "reset +e",
    "set +o",
    "echo \\; set +e",
    "echo 'unbalanced",
]


@pytest.mark.parametrize("script", OFF)
def test_turns_errexit_off(script: str) -> None:
    assert turned_off(script) >= {"e"}
    assert "v" not in turned_off(script)


@pytest.mark.parametrize("script", KEPT)
def test_leaves_errexit(script: str) -> None:
    assert "e" not in turned_off(script)


def test_tells_verbose_too() -> None:
    assert turned_off("set +ev") == {"e", "v"}
    assert turned_off("set +o verbose") == turned_off("unsetopt VERBOSE") == {"v"}


def test_reads_a_long_text_at_once() -> None:
    began = time.monotonic()
    assert turned_off("x << y 'a' \"b\" # c\n" * 20_000 + "set +e") == {"e"}
    assert turned_off("'" * 50_001 + "(" * 50_000) == set()
    assert time.monotonic() - began < 5  # 0.2 s on a quiet machine
