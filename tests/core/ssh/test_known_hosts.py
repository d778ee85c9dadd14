"""The index over known_hosts, against ssh-keygen, and the verdicts."""

from __future__ import annotations

import base64
import subprocess
from pathlib import Path

from sane.core.ssh.known_hosts import KnownHost, KnownHosts, fingerprint, judge_key, known_hosts_line

TEXT = """\
# a comment, and an empty line

web1,10.0.0.1 ssh-ed25519 AAAA1
*.example.com,!bad.example.com ssh-rsa AAAA2
[web1]:2222 ssh-ed25519 AAAA3
@revoked * ssh-rsa AAAA4
@cert-authority *.example.com ssh-ed25519 AAAA5
web1 short
WEB3 ecdsa-sha2-nistp256 AAAA6 with a comment
"""


def lines(index: KnownHosts, name: str, port: int = 22, alias: str | None = None) -> list[int]:
    return [entry.line for entry in index.lookup_host(name, port, alias)]


def test_names_patterns_ports_and_markers() -> None:
    index = KnownHosts([("file", TEXT)])
    assert lines(index, "web1") == [3, 6]
    assert lines(index, "WEB1") == [3, 6]
    assert lines(index, "10.0.0.1") == [3, 6]
    assert lines(index, "a.example.com") == [4, 6, 7]
    assert lines(index, "bad.example.com") == [6, 7]
    assert lines(index, "web1", 2222) == [5, 6]
    assert lines(index, "web3") == [6, 9]
    assert lines(index, "x", 2222, alias="web1") == [3, 6]
    assert index.lookup("a.example.com")[-1].marker == "@cert-authority"


def test_another_port_falls_back_to_the_plain_name() -> None:
    index = KnownHosts([("file", "web1 ssh-ed25519 AAAA1\n")])
    assert lines(index, "web1", 2222) == [1]


def test_files_in_order() -> None:
    index = KnownHosts([("user", "web1 ssh-ed25519 AAAA1\n"), ("system", "web1 ssh-rsa AAAA2\n")])
    assert [(entry.file, entry.key) for entry in index.lookup("web1")] == [("user", "AAAA1"), ("system", "AAAA2")]


def test_hashed_names_are_those_of_ssh_keygen(tmp_path: Path) -> None:
    file = tmp_path / "known_hosts"
    key = "AAAAC3NzaC1lZDI1NTE5AAAAIJ5Zh0XkQm3iA1vAvcVdZmFzzUGYR5ZQK7cUOMxwJq3T"
    file.write_text(f"web1 ssh-ed25519 {key}\n[web2]:2222 ssh-ed25519 {key}\n")
    subprocess.run(["ssh-keygen", "-q", "-H", "-f", file], check=True, capture_output=True)
    assert "web" not in file.read_text()
    index = KnownHosts([(str(file), file.read_text())])
    assert lines(index, "web1") == [1]
    assert lines(index, "web2", 2222) == [2]
    assert lines(index, "web2") == []


def test_a_line_we_hash_is_found_again() -> None:
    line = known_hosts_line("[web1]:22022", "ssh-ed25519", "AAAA1", salt=bytes(20))
    assert line.startswith("|1|AAAAAAAAAAAAAAAAAAAAAAAAAAA=|")
    assert lines(KnownHosts([("file", line)]), "web1", 22022) == [1]


def test_lines_that_are_not_entries_are_passed_over() -> None:
    text = "|1|not base64!|x ssh-ed25519 AAAA\n|2|AA==|AA== ssh-ed25519 AAAA\n@revoked\n@cert-authority *\nweb1\n"
    assert lines(KnownHosts([("file", text)]), "web1") == []


def test_what_was_added_is_found() -> None:
    index = KnownHosts([])
    assert lines(index, "web1") == []
    index.add(KnownHost("", "ssh-ed25519", "AAAA1", "file", 1), "web1")
    assert lines(index, "web1") == [1]


def test_verdicts() -> None:
    plain = KnownHost("", "ssh-ed25519", "GOOD", "file", 1)
    revoked = KnownHost("@revoked", "ssh-ed25519", "BAD", "file", 2)
    authority = KnownHost("@cert-authority", "ssh-ed25519", "CA", "file", 3)
    assert judge_key([plain, revoked], "GOOD") == ("known", plain)
    assert judge_key([plain, revoked], "BAD") == ("revoked", revoked)
    assert judge_key([plain, revoked, KnownHost("", "x", "BAD", "file", 4)], "BAD").kind == "revoked"
    assert judge_key([plain], "OTHER") == ("changed", plain)
    assert judge_key([revoked, authority], "OTHER").kind == "unknown"
    assert judge_key([authority], "CA").kind == "unknown"  # an authority's key is no host's key
    assert judge_key([], "ANY").kind == "unknown"


def test_fingerprints_are_those_of_ssh_keygen(tmp_path: Path) -> None:
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", tmp_path / "key"], check=True)
    said = subprocess.run(["ssh-keygen", "-l", "-f", tmp_path / "key.pub"], capture_output=True, text=True, check=True)
    blob = base64.b64decode((tmp_path / "key.pub").read_text().split()[1])
    assert fingerprint(blob) == said.stdout.split()[1]
