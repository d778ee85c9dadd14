"""From the words of a command line to arguments."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import pytest

from sane.errors import UsageError
from sane.surfaces.cli.arguments import Arguments, MissingArgumentError, help_text, parse_arguments, usage_line
from sane.verbs.registry import Verb, answer_is_ok, bind, load_verb, parameters_of


async def sample(
    context: Any,
    target: Annotated[str, "where"],
    content: Annotated[str, "what"],
    timeout_s: Annotated[float, "how long"] = 30.0,
    backup: Annotated[bool, "keep the old"] = True,
    *,
    exact: bool = False,
    current_dir: str | None = None,
    mode: Literal["fast", "slow"] = "fast",
    tag: list[str] | None = None,
) -> dict[str, object]:
    """Do a sample thing."""
    return {}


async def keys(context: Any, target: str, keys: list[str]) -> dict[str, object]:
    """Take many words."""
    return {}


async def backed_up(
    context: Any, target: str, *, safe: Annotated[bool, "keep the old"] = True, exact: bool = False
) -> dict[str, object]:
    """Change a thing."""
    return {}


def verb_of(function: Any) -> Verb:
    name, summary = function.__name__, function.__doc__
    return Verb(name, function, summary, "read", False, True, f"sane-{name} x", parameters_of(function), answer_is_ok)


def parse(*words: str) -> Arguments:
    return parse_arguments(verb_of(sample), words)


def test_positionals_come_in_order() -> None:
    assert parse("t", "c", "5", "false").values == {"target": "t", "content": "c", "timeout_s": 5.0, "backup": False}


@pytest.mark.parametrize("word", ["-5", "-rf", "-", "---\ntitle: x", "--- a/b", "--5", "-- x", ""])
def test_only_names_behind_two_dashes_are_options(word: str) -> None:
    assert parse("t", word).values["content"] == word


def test_everything_behind_two_dashes_is_positional() -> None:
    assert parse("--exact", "--", "--help", "--exact").values == {
        "exact": True,
        "target": "--help",
        "content": "--exact",
    }


def test_options_may_stand_anywhere_and_be_written_either_way() -> None:
    values = parse("--current_dir", "/x", "t", "--mode=slow", "c", "--tag", "a", "--tag=b", "--no-exact").values
    assert values == {
        "current_dir": "/x",
        "mode": "slow",
        "tag": ["a", "b"],
        "exact": False,
        "target": "t",
        "content": "c",
    }


@pytest.mark.parametrize(
    ("words", "safe"),
    {
        (): None,
        ("--safe",): True,
        ("--no-safe",): False,
        ("--safe", "false"): False,
        ("--safe", "true"): True,
        ("--safe=false",): False,
        ("--no-safe=false",): True,
    }.items(),
)
def test_an_option_that_is_on_can_be_taken_back(words: tuple[str, ...], safe: bool | None) -> None:
    assert parse_arguments(verb_of(backed_up), [*words, "x"]).values == {"target": "x"} | (
        {} if safe is None else {"safe": safe}
    )
    assert parse_arguments(verb_of(backed_up), ["--exact", "true"]).values == {"target": "true", "exact": True}


def test_an_option_that_is_on_is_shown_with_its_no() -> None:
    assert usage_line(verb_of(backed_up)) == "Usage: sane-backed_up TARGET [--[no-]safe] [--exact]"
    assert "--[no-]safe  keep the old; default true" in help_text(verb_of(backed_up))


def test_a_positional_can_be_given_by_name() -> None:
    assert parse("t", "--timeout", "7", "c", "true").values == {
        "target": "t",
        "timeout_s": 7.0,
        "content": "c",
        "backup": True,
    }


def test_a_list_takes_the_rest() -> None:
    assert parse_arguments(verb_of(keys), ["t", "a", "-b", "c"]).values == {"target": "t", "keys": ["a", "-b", "c"]}
    with pytest.raises(MissingArgumentError):
        parse_arguments(verb_of(keys), ["t"])


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["t", "c", "x"], "timeout must be a number, got 'x'"),
        (["t", "c", "nan"], "timeout must be a number, got 'nan'"),
        (["t", "c", "-5"], "timeout must not be negative, got '-5'"),
        (["t", "c", "5", "yes"], "backup must be 'true' or 'false', got 'yes'"),
        (["t", "c", "5", "true", "more"], "unexpected argument 'more'"),
        (["t", "c", "--mode", "other"], "mode must be one of fast, slow, got 'other'"),
        (["t", "c", "--mode"], "option '--mode' needs a value"),
        (["t", "c", "--exact=maybe"], "exact must be 'true' or 'false', got 'maybe'"),
        (["t", "c", "--output", "xml"], "output must be one of json, ndjson, table, got 'xml'"),
    ],
)
def test_refuses_with_the_sentences_scripts_match(words: list[str], sentence: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse(*words)
    assert caught.value.message == sentence


def test_an_unknown_option_is_told_the_nearest() -> None:
    with pytest.raises(UsageError) as caught:
        parse("t", "c", "--exat")
    assert caught.value.message == "unknown option '--exat'"
    assert "'exact'" in caught.value.hint


@pytest.mark.parametrize("words", [[], ["t"], ["--exact", "t"]])
def test_a_missing_argument_is_an_error_of_its_own(words: list[str]) -> None:
    with pytest.raises(MissingArgumentError):
        parse(*words)


def test_what_every_primitive_takes() -> None:
    arguments = parse("t", "c", "--query", "a.b", "--output=table", "--exit-status")
    assert (arguments.query, arguments.output, arguments.exit_status) == ("a.b", "table", True)
    assert parse("--help").help
    assert parse("-h").help


def test_usage_and_help_come_from_the_parameters() -> None:
    usage = usage_line(verb_of(sample))
    assert usage.startswith(
        "Usage: sane-sample TARGET CONTENT [timeout] [backup] [--exact] [--current-dir CURRENT_DIR]"
    )
    assert usage_line(verb_of(keys)) == "Usage: sane-keys TARGET KEYS…"
    text = help_text(verb_of(sample))
    for part in (
        "Do a sample thing.",
        "where",
        "keep the old; default true",
        "one of fast, slow",
        "Example:\n  sane-sample x",
    ):
        assert part in text


def test_a_list_that_is_none_is_shown_as_one() -> None:
    with pytest.raises(UsageError, match="keys must be a list, got 'ls'") as raised:
        bind(load_verb("send-keys"), {"target": "w", "keys": "ls"})
    assert raised.value.hint == 'Write it as keys: ["ls"].'
