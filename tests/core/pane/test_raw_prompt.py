"""Prompts of interpreters and devices."""

from __future__ import annotations

import pytest

from sane.core.pane.prompt_line import device_name
from sane.core.pane.raw_prompt import (
    asks_for_more,
    asks_question,
    ends_in_prompt,
    match_prompt,
    raw_prompt,
    typed_lines,
)

PROMPTS = {
    (">>> ", "python3.12"): ("python", False),
    ("... ", "python3"): ("python", True),
    ("In [12]: ", "ipython"): ("python", False),
    ("(Pdb) ", "python3"): ("python", False),
    ("output>>> ", "python3"): ("python", False),
    (">>> ", "ssh"): ("python", False),
    ("> ", "node"): ("node", False),
    ("... ", "node"): ("node", True),
    ("sane=# ", "psql"): ("psql", False),
    ("sane=*> ", "psql"): ("psql", False),
    ("sane-# ", "psql"): ("psql", True),
    ("sane(# ", "psql"): ("psql", True),
    ("sane=> ", "ssh"): ("psql", False),
    ("mysql> ", "mysql"): ("mysql", False),
    ("    -> ", "mysql"): ("mysql", True),
    ("MariaDB [(none)]> ", "mariadb"): ("mysql", False),
    ("sqlite> ", "sqlite3"): ("sqlite", False),
    ("   ...> ", "sqlite3"): ("sqlite", True),
    ("irb(main):001> ", "irb"): ("irb", False),
    ("127.0.0.1:6379[2]> ", "redis-cli"): ("redis", False),
    ("Router>", "ssh"): ("cisco", False),
    ("core-1(config-if)#", "ssh"): ("cisco", False),
    ("admin@edge1> ", "ssh"): ("juniper", False),
}
NONE = [
    (">>> import os", "python3"),
    ("$ ", "ssh"),
    ("root@web1:~# ", "ssh"),
    ("web1# ", "ssh"),
    ("Router>show", "ssh"),
    ("", "python3"),
    ("name? ", "python3"),
    ("> ", "ssh"),
]


@pytest.mark.parametrize(("line", "program"), PROMPTS)
def test_prompts(line: str, program: str) -> None:
    found = raw_prompt(line, program, [])
    assert found is not None
    assert (found.kind, found.unfinished) == PROMPTS[line, program]


@pytest.mark.parametrize(("line", "program"), NONE)
def test_other_lines(line: str, program: str) -> None:
    assert raw_prompt(line, program, []) is None


def test_what_alone_could_be_a_shells_needs_a_word_of_the_device() -> None:
    assert device_name("Router#", ["bash-5.2# ssh router"]) is None
    assert device_name("Router#", ["Router>enable", "Password:"]) == "cisco"
    assert device_name("Router#", ["% Invalid input detected at '^' marker."]) == "cisco"
    assert device_name("admin@edge1#", ["[edit interfaces]"]) == "juniper"
    assert device_name("admin@edge1#", ["admin@edge1> configure"]) == "juniper"
    assert device_name("root@host#", ["root@host# ls"]) is None
    assert device_name("RP/0/RSP0/CPU0:core1#", []) == "cisco"


def test_a_prompt_behind_output_without_a_newline() -> None:
    prompt = match_prompt("python", ">>> ")
    assert prompt is not None
    assert ends_in_prompt(prompt, "abc>>> ") == "abc"
    assert ends_in_prompt(prompt, ">>> ") == ""
    assert ends_in_prompt(prompt, "abc>>>   ") is None
    device = match_prompt("cisco", "sw1>")
    assert device is not None
    assert ends_in_prompt(device, "xsw1>") is None


@pytest.mark.parametrize("line", [" --More-- ", "--More--", "---(more)---", "---(more 45%)---", "<--- More --->"])
def test_pagers(line: str) -> None:
    assert asks_for_more(line)
    assert not asks_for_more(line + " and text")


@pytest.mark.parametrize(
    "line",
    ["Password: ", "Proceed with reload? [confirm]", "Save? [yes/no]: ", "admin@h's password: ", "Go on? (y/n) "],
)
def test_questions(line: str) -> None:
    assert asks_question(line)
    assert not asks_question("line 5 of the output")


def test_lines_to_type() -> None:
    assert typed_lines("a\n\tb\r\n\nc\n\n") == ["a", "    b", "", "c"]
    assert typed_lines("") == [""]
