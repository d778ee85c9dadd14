"""Templates: what is filled in, and that no value leaves its word in a shell."""

from __future__ import annotations

import contextlib
import subprocess

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from sane.core.shell import quote
from sane.core.workflow.template import check_shell, parse_template, render, render_shell
from sane.errors import ConfigError

SHELLS = [["dash"], ["bash"], ["bash", "--posix"], ["zsh", "-f"]]
NASTY = st.text(st.characters(exclude_characters="\0", exclude_categories=("Cs",)), max_size=40) | st.text(
    alphabet="'\"\\$`(){};&|<>!*?[]~#=- \n\tax", max_size=20
)


def words_of(shell: list[str], script: str, home: str = "/h") -> list[str]:
    """Run `script` in a real shell; return the arguments of the `show` in it, and whatever else ran shows as more."""
    environment = {"PATH": "/usr/bin:/bin", "HOME": home, "LC_ALL": "C.UTF-8"}
    prelude = 'show() { for w in "$@"; do printf "%s\\0" "$w"; done; }\n'
    done = subprocess.run(
        [*shell, "-c", prelude + script], capture_output=True, env=environment, timeout=20, check=False
    )
    assert done.returncode == 0, done.stderr
    assert not done.stderr
    return done.stdout.decode("utf-8", "surrogateescape").split("\0")[:-1]


# Each command shows its words, with V where the value stands; the words expected follow.
PLACES = [
    ("show {{ x }}", ["V"]),
    ("show a{{ x }}b", ["aVb"]),
    ('show "{{ x }}"', ["V"]),
    ('show "a {{ x }} b"', ["a V b"]),
    ("show 'a {{ x }} b'", ["a V b"]),
    ("show '{{ x }}'", ["V"]),
    ("show \"$(show {{ x }} | tr -d '\\0')\"", ["V"]),
    ("show \"$(show 'it' \"{{ x }}\" | tr -d '\\0')\"", ["itV"]),
    ("(show {{ x }}) # it's {\nshow {{ x }}", ["V", "V"]),
    ('y={{ x }}\nshow "$y"', ["V"]),
    ("cat <<'E{O}F' >/dev/null\nit's \" ` $(\nE{O}F\nshow {{ x }}", ["V"]),
    ("echo $((1 + (2))) >/dev/null; show {{ x }}", ["V"]),
    ("show \\\" {{ x }} \\'", ['"', "V", "'"]),
    ("if true; then show {{ x }}; fi", ["V"]),
    ("case a in a) show {{ x }};; esac", ["V"]),
    ("show ${NONE:-it} {{ x }}", ["it", "V"]),
    ('show "${NONE:-"it"}" \'{{ x }}\' {{ x }}', ["it", "V", "V"]),
    ("show {{ x }}{{ x }}", ["VV"]),
    ('export Y={{ x }}; show "$Y"', ["V"]),
    ("[ {{ x }} = {{ x }} ] && show {{ x }} -eq", ["V", "-eq"]),
    ("sh -c 'true' _ {{ x }}; show {{ x }}", ["V"]),
]


@pytest.mark.parametrize("shell", SHELLS, ids=" ".join)
@settings(max_examples=12, deadline=None)
@given(value=NASTY)
@example(value="'; echo owned; '")
@example(value="$(echo owned)`echo owned`")
@example(value="\\")
@example(value="a\nEOF\necho owned")
@example(value="!! # \"' -rf")
@example(value="")
def test_no_value_leaves_its_word(shell: list[str], value: str) -> None:
    value = value.lstrip("~")
    # A command substitution drops newlines at its end, so those values end in a full stop.
    value += "."
    script = "\n".join(render_shell(parse_template(text), {"x": value}) for text, _ in PLACES)
    expected = [word.replace("V", value) for _, words in PLACES for word in words]
    assert words_of(shell, script) == expected


@given(value=NASTY)
def test_quoting_needs_no_escapes_inside_single_quotes(value: str) -> None:
    quoted = quote(value)
    assert "\\" not in "".join(quoted.split("\\\\")).replace("\\'", "")


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("show {{ x }}", "/h/a b"),
        ("show {{ x }}/c", "/h/a b/c"),
        ('show "{{ x }}/c"', "/h/a b/c"),
        ("show --dir={{ x }}", "--dir=/h/a b"),
        ("show a{{ x }}", "a~/a b"),
        ("show '{{ x }}'", "~/a b"),
        ('show "a{{ x }}"', "a~/a b"),
    ],
)
@pytest.mark.parametrize("shell", SHELLS, ids=" ".join)
def test_a_tilde_at_the_start_of_a_word_is_the_home_directory(shell: list[str], text: str, word: str) -> None:
    assert words_of(shell, render_shell(parse_template(text), {"x": "~/a b"})) == [word]


def test_a_tilde_alone() -> None:
    assert words_of(
        ["dash"], render_shell(parse_template('show {{ x }} "{{ x }}" {{ y }}'), {"x": "~", "y": "~u"})
    ) == [
        "/h",
        "/h",
        "~u",
    ]


@pytest.mark.parametrize(
    "text",
    [
        "echo `date {{ x }}`",
        "cat <<EOF\n{{ x }}\nEOF",
        "cat <<'EOF'\n{{ x }}\nEOF\n",
        "cat <<{{ x }}\na\n",
        "cat <<E{{ x }}\na\n",
        "cat <<-\tEOF\n\t{{ x }}\n\tEOF",
        "echo $'{{ x }}'",
        "echo ${{ x }}",
        'echo "${{ x }}"',
        "echo \\{{ x }}",
        'echo "\\{{ x }}"',
        "echo $(( {{ x }} + 1 ))",
        "(( {{ x }} > 1 ))",
        "echo ${a:-{{ x }}}",
        'echo "${a:-{{ x }}}"',
        "true # {{ x }}",
        "eval echo {{ x }}",
        "eval 'echo {{ x }}'",
        "sh -c 'echo {{ x }}'",
        'bash -ec "echo {{ x }}"',
        "sudo -u www bash -x -c {{ x }}",
        "find . -exec sh -c 'echo {{ x }}' ';'",
        "python3 -c 'print({{ x }})'",
        "trap 'rm {{ x }}' EXIT",
        "[[ {{ x }} -eq 1 ]]",
        "a[{{ x }}]=1",
        "export {{ x }}",
        "if true; then read a{{ x }}",
        "declare -i a={{ x }}",
        "test -v {{ x }}",
        "[ {{ x }} -eq 1 ]",
        '[ "{{ x }}" -gt 1 ]',
        "[ 1 -lt {{ x }} ]",
        "echo \"$(echo $'it\\'s {{ x }}')\"",
        "echo $'it\\'s' {{ x }}",
        "let {{ x }}",
        'echo "$(case a in a) echo {{ x }};; esac)"',
        'echo "${a:-it\'s}" {{ x }}',
    ],
)
def test_a_value_where_no_quoting_is_safe_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="can't be made safe") as caught:
        check_shell(parse_template(text))
    assert "$SANE_VAR_X" in caught.value.hint
    assert caught.value.problems[0].column == text.index("{{") + 1


def test_plain_text_is_filled_in_as_it_is() -> None:
    values = {"a": "it's $x", "b": {"c": 5, "d": True}}
    assert render(parse_template("{{a}}|{{ b.c }}|{{ b.d }}|{ }} {"), values) == "it's $x|5|true|{ }} {"


@pytest.mark.parametrize("text", ["{{ a", "{{}}", "{{ a b }}", "{{ a. }}", "{{ 'a' }}", "{{ $(x) }}"])
def test_a_malformed_reference_is_refused(text: str) -> None:
    with pytest.raises(ConfigError):
        parse_template(text)


@pytest.mark.parametrize("name", ["x", "a.b", "n", "l", "d", "a.c.e", "z"])
def test_a_name_without_one_value_is_refused(name: str) -> None:
    with pytest.raises(ConfigError):
        render(parse_template("{{ " + name + " }}"), {"a": {"c": 1}, "n": None, "l": [1], "d": {}, "z": "a\0b"})


@given(st.text(alphabet="{} xa.'\"\\$`(#<E\n)[;", max_size=40))
def test_any_text_is_read_or_refused(text: str) -> None:
    with contextlib.suppress(ConfigError):
        template = parse_template(text)
        assert len(check_shell(template)) == len(template.references)
