"""CIF 1.1 as text: blocks of items and loops.

Own code, because the readers at hand drop what they do not understand: repeated block names, rows
cut short, sites of unknown elements.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from matgen.errors import BadFile

_TOKEN = re.compile(r"""'((?:[^']|'(?=\S))*)'(?=\s|$)|"((?:[^"]|"(?=\S))*)"(?=\s|$)|(\#.*)|(\S+)""")


@dataclass
class Block:
    """A data block: item name (lower case) to its values, one unless it is in a loop."""

    name: str
    items: dict[str, list[str]] = field(default_factory=dict)

    def get(self, *names: str) -> list[str] | None:
        """Return the values of the first of these items that is there."""
        return next((self.items[name] for name in names if name in self.items), None)

    def text(self, *names: str) -> str | None:
        """Return the first value of the first of these items that says anything."""
        for name in names:
            values = self.items.get(name)
            if values and values[0] not in ("", "?", "."):
                return values[0]
        return None


def parse_blocks(text: str) -> list[Block]:
    """Return the data blocks of a CIF, in order.

    Raises:
        BadFile: no CIF, or cut short.
    """
    blocks: list[Block] = []
    tokens = list(_tokens(text))
    position = 0
    while position < len(tokens):
        word, quoted = tokens[position]
        position += 1
        if not quoted and word.lower().startswith("data_"):
            blocks.append(Block(word[5:]))
            continue
        if not blocks:
            raise BadFile(f"no CIF: {word[:40]!r} stands before the first data_ block")
        if not quoted and word.lower() == "loop_":
            position = _loop(blocks[-1], tokens, position)
        elif not quoted and word.startswith("_"):
            if position == len(tokens) or _is_keyword(tokens[position]):
                raise BadFile(f"{word} has no value; the CIF may be truncated")
            blocks[-1].items[word.lower()] = [tokens[position][0]]
            position += 1
        else:
            raise BadFile(f"{word[:40]!r} belongs to no item of the CIF")
    if not blocks:
        raise BadFile("no CIF: it has no data_ block")
    return blocks


def _loop(block: Block, tokens: list[tuple[str, bool]], position: int) -> int:
    names = []
    while position < len(tokens) and not tokens[position][1] and tokens[position][0][0] == "_":
        names.append(tokens[position][0].lower())
        position += 1
    values = []
    while position < len(tokens) and not _is_keyword(tokens[position]):
        values.append(tokens[position][0])
        position += 1
    if not names or not values or len(values) % len(names):
        raise BadFile(
            f"a loop has {len(values)} values for {len(names)} columns"
            f"{' from ' + names[0] if names else ''}; the CIF may be truncated"
        )
    for column, name in enumerate(names):
        block.items[name] = values[column :: len(names)]
    return position


def _is_keyword(token: tuple[str, bool]) -> bool:
    word, quoted = token
    return not quoted and (word[0] == "_" or word.lower().startswith(("data_", "loop_")))


def _tokens(text: str) -> Iterator[tuple[str, bool]]:
    """Yield words, each with whether it was quoted."""
    open_text: list[str] | None = None
    for line in text.splitlines():
        if open_text is not None:
            if line.startswith(";"):
                yield "\n".join(open_text), True
                open_text = None
                line = line[1:]  # noqa: PLW2901 - what follows the closing semicolon
            else:
                open_text.append(line)
                continue
        elif line.startswith(";"):
            open_text = [line[1:]]
            continue
        for single, double, comment, word in _TOKEN.findall(line):
            if comment:
                break
            if word:
                yield word, False
            else:
                yield single or double, True
    if open_text is not None:
        raise BadFile("a text between semicolons never ends; the CIF may be truncated")
