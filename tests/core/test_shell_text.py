"""Quoting, as the shells themselves read it."""

from __future__ import annotations

import shutil
import subprocess

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sane.core.shell_text import exports, quote_argv, quote_path, quote_word
from sane.errors import UsageError

SHELLS = [shell for shell in ("sh", "bash", "dash", "zsh", "fish") if shutil.which(shell)]
NASTY = [
    "",
    "plain",
    "it's",
    "a\\",
    "\\'",
    "'\\''",
    "$(id) `id` ${x} !!",
    "two\nlines\n",
    "-n",
    "~",
    "*",
    "ünï ☃",
    "a\tb",
    '"',
]


def shell_reads(shell: str, line: str) -> list[str]:
    done = subprocess.run([shell, "-c", line], capture_output=True, check=True, stdin=subprocess.DEVNULL)
    return done.stdout.decode("utf-8", "surrogateescape").split("\0")[:-1]


@pytest.mark.parametrize("shell", SHELLS)
def test_every_shell_reads_the_words_back(shell: str) -> None:
    assert shell_reads(shell, quote_argv(["printf", "%s\\0", *NASTY])) == NASTY


@settings(max_examples=25, deadline=None)
@given(
    words=st.lists(st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"])), min_size=1, max_size=8)
)
def test_random_words_come_back(words: list[str]) -> None:
    for shell in SHELLS:
        assert shell_reads(shell, quote_argv(["printf", "%s\\0", *words])) == words


def test_paths() -> None:
    assert quote_path("/etc/x") == "/etc/x"
    assert quote_path("-rf") == "./-rf"
    assert quote_path("~") == '"$HOME"'
    assert quote_path("~/a b") == "\"$HOME\"/'a b'"
    assert quote_path("~other") == "'./~other'"


def test_variables_are_set_on_the_first_line_of_the_script() -> None:
    assert exports({}) == ""
    assert exports({"X": "1 2", "Y": ""}) == "export X='1 2'; export Y=''; "


def test_names_and_values_that_no_shell_takes() -> None:
    with pytest.raises(UsageError, match="not a name"):
        exports({"A;reboot": "x"})
    with pytest.raises(UsageError, match="NUL"):
        quote_word("a\0b")
