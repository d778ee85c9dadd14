"""What a cursor line looks like."""

from __future__ import annotations

import pytest

from sane.core.pane.prompt_line import (
    asks_person,
    classify_line,
    device_name,
    looks_like_status,
    may_be_prompt,
    repl_name,
    split_at,
)

LINES = {
    "root@vm:/work# ": "prompt",
    "user@host ~ % ": "prompt",
    "❯ ": "prompt",
    "$": "prompt",
    "root@host - dec032025:035722pm seq:3201 rslt:0 bash $ ": "prompt",
    "user@host:~$ rm -rf /tmp/x": "unknown",
    "> ": "continuation",
    "> > ": "continuation",
    "quote> ": "continuation",
    "cmdsubst dquote> ": "continuation",
    ">>> ": "repl",
    "... ": "repl",
    "In [1]: ": "repl",
    "postgres=# ": "repl",
    "mysql> ": "repl",
    "": "empty",
    "   ": "empty",
    "Password: ": "unknown",
    "[y/N] ": "unknown",
}


@pytest.mark.parametrize("line", LINES)
def test_kinds_of_lines(line: str) -> None:
    assert classify_line(line, "") == LINES[line]


def test_text_behind_the_cursor() -> None:
    assert classify_line("$ ", "rm x") == "unknown"
    assert classify_line("$ ", "        12:30") == "prompt"


def test_split_counts_cells() -> None:
    assert split_at("$ abc", 2) == ("$ ", "abc")
    assert split_at("漢字$", 5) == ("漢字$", "")
    assert split_at("漢字$", 6) == ("漢字$ ", "")
    assert split_at("$", 2) == ("$ ", "")


def test_interpreters_and_devices() -> None:
    assert repl_name("python3.11", "") == "python"
    assert repl_name("ssh", "db=> ") == "psql"
    assert repl_name("bash", "$ ") is None
    assert device_name("Router>", ()) == device_name("sw1(config-if)#", ()) == "cisco"
    assert device_name("admin@mx1>", ()) == "juniper"
    assert device_name("vm#", ()) is None
    assert device_name("vm#", ("Cisco IOS Software",)) == "cisco"


def test_a_prompt_of_an_interpreter_is_no_device() -> None:
    for prompt in ("sqlite>", "mysql>", "ftp>"):
        assert device_name(prompt, ()) is None


ROBBYRUSSELL = "➜  ~"
MAY_BE = {  # the line -> the line above, the last prompt that was known, and whether it may be a prompt
    "➜  src ": ("➜  ~ cd src", ROBBYRUSSELL, True),
    "➜  src rm -rf x": ("➜  ~ cd src", ROBBYRUSSELL, True),  # its editor has to tell
    "[12:30:59] foo: ": ("[12:30:01] foo: true", "[12:30:01] foo:", True),
    "/usr/share: ": ("~: cd /usr/share", "~:", True),
    "first of all: ": ("", "", True),
    "bash# later": ("bash# { printf later; } &", "", True),
    "": ("bash# later", "", True),
    "∙ ": ("➜  ~ echo 'abc", ROBBYRUSSELL, False),
    "quote> later": ("% echo 'abc", "", False),
    "> later": ("$ echo 'abc", "", False),
    "  ": ("> later", "", False),
    "more please, ": ("~: echo 'abc", "~:", False),
    "some more: ": ("$ echo 'abc", "", False),
    "then ": ("~ if true", "~", False),
}


@pytest.mark.parametrize("line", MAY_BE)
def test_what_may_be_a_prompt(line: str) -> None:
    above, remembered, expected = MAY_BE[line]
    assert may_be_prompt(line, above, [above] if above else [], remembered) == expected


def test_what_asks_a_person() -> None:
    assert all(asks_person(line) for line in ("Delete all [y/N] ", "Sure? ", "(reverse-i-search)`x': echo x"))
    assert not any(asks_person(line) for line in ("[~/src] ", "➜  ~ ", "bash# later"))


def test_status_line() -> None:
    assert looks_like_status("[main] 0:bash* 1:vim  12:00")
    assert not looks_like_status("-- INSERT --")
