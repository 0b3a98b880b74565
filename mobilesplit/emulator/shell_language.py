"""The phone's shell language: a command line parsed into a list of pipelines. Pure.

Rule: what is not understood is a syntax error that says so; nothing is ever handed to a shell of
the host. Understood: quoting, ``;`` ``&&`` ``||`` ``|``, redirections, ``$NAME`` ``${NAME}``
``$?`` ``$$``, assignments, comments. Not: substitution, loops, functions, background jobs.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

_OPERATORS = ("&&", "||", ">>", ">&", "|", ";", "\n", ">", "<", "&", "(", ")")
_SEPARATORS = (";", "\n", "&&", "||")
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_ASSIGNMENT = re.compile(r"([A-Za-z_][A-Za-z0-9_]*)=")
_GLOB_SPECIAL = re.compile(r"([*?\[])")


class ShellSyntaxError(Exception):
    """The command line cannot be understood."""


@dataclass(frozen=True)
class Part:
    """A piece of a word: literal text, or the name of a parameter to put in."""

    text: str
    quoted: bool
    parameter: bool = False


@dataclass(frozen=True)
class Word:
    """Pieces that were written without a space between them."""

    parts: tuple[Part, ...]


@dataclass(frozen=True)
class Redirection:
    """``2> file`` or, with ``copied``, ``2>&1``."""

    descriptor: int
    how: str
    """``<``, ``>``, ``>>`` or ``>&``."""
    target: Word


@dataclass
class SimpleCommand:
    """Assignments, then words, with redirections anywhere."""

    assignments: list[tuple[str, Word]] = field(default_factory=list)
    words: list[Word] = field(default_factory=list)
    redirections: list[Redirection] = field(default_factory=list)

    @property
    def is_empty(self) -> bool:
        return not (self.assignments or self.words or self.redirections)


@dataclass
class Pipeline:
    """Commands joined by ``|``; ``after`` is the operator in front of it."""

    after: str
    commands: list[SimpleCommand]


@dataclass(frozen=True)
class _Operator:
    text: str


def parse(line: str) -> list[Pipeline]:
    """A command line as its pipelines, in order.

    Raises:
        ShellSyntaxError: with the offending piece.
    """
    pipelines: list[Pipeline] = []
    after = ";"
    command = SimpleCommand()
    commands: list[SimpleCommand] = []
    tokens = _tokens(line)
    position = 0
    while position < len(tokens):
        token = tokens[position]
        position += 1
        if isinstance(token, Word):
            _add_word(command, token)
        elif isinstance(token, Redirection):
            if position >= len(tokens) or not isinstance(target := tokens[position], Word):
                raise ShellSyntaxError(f"'{token.how}' needs a target")
            position += 1
            command.redirections.append(Redirection(token.descriptor, token.how, target))
        elif token.text == "|":
            if command.is_empty:
                raise ShellSyntaxError("unexpected '|'")
            commands.append(command)
            command = SimpleCommand()
        else:
            if command.is_empty and (commands or token.text in ("&&", "||")):
                raise ShellSyntaxError(f"unexpected {token.text.strip() or 'newline'!r}")
            if not command.is_empty:
                pipelines.append(Pipeline(after, [*commands, command]))
                after = token.text
                command, commands = SimpleCommand(), []
    if command.is_empty and (commands or after in ("&&", "||")):
        raise ShellSyntaxError("unexpected end of line")
    if not command.is_empty:
        pipelines.append(Pipeline(after, [*commands, command]))
    return pipelines


def expand(word: Word, parameters: Mapping[str, str]) -> list[str]:
    """The fields of a word. A field's `*`, `?`, `[` that were written bare stay bare, quoted ones
    come bracketed (``[*]``) when the word is a pattern; see ``is_pattern``."""
    fields: list[str] = []
    current: str | None = None
    pattern = is_pattern(word)
    for part in word.parts:
        text = parameters.get(part.text, "") if part.parameter else part.text
        if pattern and (part.quoted or part.parameter):
            text = _GLOB_SPECIAL.sub(r"[\1]", text)
        if not part.parameter or part.quoted:
            current = (current or "") + text
            continue
        # A bare parameter is split at blanks, and an empty one leaves no field.
        pieces = text.split()
        if not pieces:
            continue
        if current is not None and text[:1].isspace():
            fields.append(current)
            current = None
        fields.append((current or "") + pieces[0])
        fields.extend(pieces[1:])
        current = None if text[-1:].isspace() else fields.pop()
    if current is not None:
        fields.append(current)
    return fields


def is_pattern(word: Word) -> bool:
    """Whether the word has a bare `*`, `?` or `[` for file names."""
    return any(
        not part.quoted and not part.parameter and _GLOB_SPECIAL.search(part.text)
        for part in word.parts
    )


def _add_word(command: SimpleCommand, word: Word) -> None:
    first = word.parts[0] if word.parts else Part("", quoted=True)
    match = None
    if not command.words and not first.quoted and not first.parameter:
        match = _ASSIGNMENT.match(first.text)
    if match is None:
        command.words.append(word)
        return
    rest = first.text[match.end() :]
    value = Word((Part(rest, quoted=True), *word.parts[1:]))
    command.assignments.append((match[1], value))


def _tokens(line: str) -> list[Word | _Operator | Redirection]:
    """Words and operators; a redirection comes without its target, which is the next word."""
    tokens: list[Word | _Operator | Redirection] = []
    position = 0
    while position < len(line):
        char = line[position]
        if char in " \t\r":
            position += 1
        elif char == "#":
            end = line.find("\n", position)
            position = len(line) if end < 0 else end
        elif line.startswith("\\\n", position):
            position += 2
        elif (match := re.compile(r"(\d?)(>>|>&|>|<)").match(line, position)) is not None:
            how = match[2]
            if how == "<" and line.startswith("<", match.end()):
                raise ShellSyntaxError("'<<' is not supported by the virtual phone")
            default = 0 if how == "<" else 1
            descriptor = int(match[1]) if match[1] else default
            tokens.append(Redirection(descriptor, how, Word(())))
            position = match.end()
        elif operator := next((o for o in _OPERATORS if line.startswith(o, position)), None):
            if operator not in (*_SEPARATORS, "|"):
                raise ShellSyntaxError(f"{operator!r} is not supported by the virtual phone")
            tokens.append(_Operator(operator))
            position += len(operator)
        else:
            word, position = _word(line, position)
            tokens.append(word)
    return tokens


def _word(line: str, position: int) -> tuple[Word, int]:
    """The word that starts at ``position``, and where it ends."""
    parts: list[Part] = []
    bare = ""

    def flush() -> None:
        nonlocal bare
        if bare:
            parts.append(Part(bare, quoted=False))
            bare = ""

    while position < len(line):
        char = line[position]
        if char in " \t\r\n|;&<>()":
            break
        if char == "\\":
            flush()
            if not line.startswith("\\\n", position):
                parts.append(Part(line[position + 1 : position + 2], quoted=True))
            position += 2
        elif char == "'":
            flush()
            end = line.find("'", position + 1)
            if end < 0:
                raise ShellSyntaxError("no closing quote")
            parts.append(Part(line[position + 1 : end], quoted=True))
            position = end + 1
        elif char == '"':
            flush()
            position = _double_quoted(line, position + 1, parts)
        elif char == "$" and (found := _parameter(line, position)) is not None:
            flush()
            parts.append(Part(found[0], quoted=False, parameter=True))
            position = found[1]
        elif char == "`":
            raise ShellSyntaxError("'`' is not supported by the virtual phone")
        else:
            bare += char
            position += 1
    flush()
    return Word(tuple(parts)), position


def _double_quoted(line: str, position: int, parts: list[Part]) -> int:
    """Append what is inside the quotes; returns the position behind them."""
    text = ""
    while position < len(line):
        char = line[position]
        if char == '"':
            parts.append(Part(text, quoted=True))
            return position + 1
        if char == "\\" and line[position + 1 : position + 2] in ("$", "`", '"', "\\", "\n"):
            text += "" if line[position + 1] == "\n" else line[position + 1]
            position += 2
        elif char == "`":
            raise ShellSyntaxError("'`' is not supported by the virtual phone")
        elif char == "$" and (found := _parameter(line, position)) is not None:
            parts.append(Part(text, quoted=True))
            parts.append(Part(found[0], quoted=True, parameter=True))
            text, position = "", found[1]
        else:
            text += char
            position += 1
    raise ShellSyntaxError("no closing quote")


def _parameter(line: str, position: int) -> tuple[str, int] | None:
    """Name and end of the parameter at a ``$``; None if the ``$`` is only itself."""
    following = line[position + 1 : position + 2]
    if following in ("?", "$"):
        return following, position + 2
    if following == "(":
        raise ShellSyntaxError("'$(' is not supported by the virtual phone")
    if following == "{":
        match = re.compile(r"\{([A-Za-z_][A-Za-z0-9_]*|\?|\$)\}").match(line, position + 1)
        if match is None:
            raise ShellSyntaxError("this form of '${' is not supported by the virtual phone")
        return match[1], match.end()
    match = _NAME.match(line, position + 1)
    return (match[0], match.end()) if match is not None else None
