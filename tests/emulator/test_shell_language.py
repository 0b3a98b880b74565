from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mobilesplit.emulator.shell_language import ShellSyntaxError, expand, is_pattern, parse


def words(line: str, **parameters: str) -> list[str]:
    (pipeline,) = parse(line)
    (command,) = pipeline.commands
    return [text for word in command.words for text in expand(word, parameters)]


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("echo a  b", ["echo", "a", "b"]),
        ("echo 'a  $X' \"b  $X\" $X", ["echo", "a  $X", "b  1 2", "1", "2"]),
        (r"echo a\ b \$X", ["echo", "a b", "$X"]),
        ('echo "\\"q\\" \\n"', ["echo", '"q" \\n']),
        ("echo ''", ["echo", ""]),
        ("echo $NONE end", ["echo", "end"]),
        ('echo "$NONE"', ["echo", ""]),
        ("echo pre${X}post", ["echo", "pre1", "2post"]),
        ("echo a#b # comment", ["echo", "a#b"]),
        ("echo x=1", ["echo", "x=1"]),
        ("echo $", ["echo", "$"]),
    ],
)
def test_words(line: str, expected: list[str]) -> None:
    assert words(line, X="1 2") == expected


def test_operators_join_pipelines() -> None:
    parsed = parse("a | b && c || d; e\nf")
    assert [pipeline.after for pipeline in parsed] == [";", "&&", "||", ";", "\n"]
    assert len(parsed[0].commands) == 2


def test_assignments_stand_before_the_words() -> None:
    (command,) = parse("A=1 B='x y' run C=2")[0].commands
    assert [name for name, _ in command.assignments] == ["A", "B"]
    assert expand(command.assignments[1][1], {}) == ["x y"]
    assert len(command.words) == 2


def test_redirections_know_descriptor_and_direction() -> None:
    (command,) = parse("run <in >out 2>>log 2>&1")[0].commands
    found = [(r.descriptor, r.how, expand(r.target, {})) for r in command.redirections]
    assert found == [(0, "<", ["in"]), (1, ">", ["out"]), (2, ">>", ["log"]), (2, ">&", ["1"])]


def test_only_bare_stars_make_a_pattern() -> None:
    assert is_pattern(parse("*.txt")[0].commands[0].words[0])
    assert not is_pattern(parse("'*.txt'")[0].commands[0].words[0])


@pytest.mark.parametrize(
    "line",
    ["'open", '"open', "a &&", "| a", "a | ; b", "a >", "a & b", "echo $(id)", "echo `id`",
     "(a)", "cat << EOF", "echo ${X:-1}", "&& a", "a |"],
)  # fmt: skip
def test_what_is_not_understood_is_a_syntax_error(line: str) -> None:
    with pytest.raises(ShellSyntaxError):
        parse(line)


@given(st.text(max_size=80))
def test_any_text_parses_or_is_a_syntax_error(line: str) -> None:
    try:
        parse(line)
    except ShellSyntaxError:
        return


@given(st.text(alphabet=st.characters(blacklist_characters="'\0"), max_size=40))
def test_single_quotes_keep_everything(text: str) -> None:
    assert words(f"echo '{text}'") == ["echo", text]
