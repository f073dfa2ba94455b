"""`streamlet help [TOPIC]`: the guide and the reference in the terminal, found by words."""

from __future__ import annotations

import math
import operator
import re
import sys
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, NamedTuple

import click

from streamlet.runtime.run.job_run import WRONG

if TYPE_CHECKING:
    from streamlet.cli.topics import Topic

_MOST_FOUND = 6
_KINDS = {"guide": "The guide", "reference": "Reference", "connectors": "Connectors"}
_BETWEEN = re.compile(r"(?<!:)\n\s*\n|\n(?=    \S.*\n        \S)|\n(?= *- )")
"""What parts paragraphs: an empty line that is not behind a colon, and the next entry of a list."""
_EMPTY_WORDS = {
    "a", "an", "and", "are", "be", "by", "can", "do", "does", "for", "how", "i", "in", "is", "it", "may", "of", "on",
    "or", "the", "to", "what", "when", "where", "which", "who", "why",
}  # fmt: skip


@click.command("help")
@click.argument("words", nargs=-1, metavar="[TOPIC]")
def help_(words: tuple[str, ...]) -> None:
    """Print a topic of the guide, what a name does, or the paragraphs that contain some words.

    Without a topic it lists all of them.
    """
    from streamlet.cli import topics

    listed = topics.topics()
    if not words:
        click.echo(_contents(listed))
        return
    if named := _named(words, listed) or _command(words) or _public(words, topics.names()):
        click.echo("\n\n\n".join(named))
        return
    names = topics.names()
    found = _search(words, [*listed, *names.values()], topics.code())
    if not found:
        click.echo(_unknown(words, [*(topic.name for topic in listed), *names]), err=True)
        sys.exit(WRONG)
    click.echo(found)


def _contents(listed: Iterable[Topic]) -> str:
    lines: list[str] = []
    last = ""
    for topic in listed:
        if topic.kind != last:
            lines += ["", f"{_KINDS[topic.kind]}:"]
            last = topic.kind
        title = topic.title.partition(": ")[2] or topic.title
        lines.append(f"  {topic.name:11} {title[:100]}")
    lines += [
        "",
        "streamlet help TOPIC prints a topic; streamlet help NAME what a name such as TumblingWindows or key_by does;",
        "streamlet help WORD WORD the paragraphs with these words.",
    ]
    return "\n".join(lines).strip("\n")


def _named(words: tuple[str, ...], listed: Iterable[Topic]) -> list[str]:
    """The topic of this name: `event-time`, `event time`, `Event-Time`."""
    wanted = _plain("".join(words))
    return [topic.read() for topic in listed if _plain(topic.name) == wanted][:1]


def _public(words: tuple[str, ...], names: Mapping[str, Topic]) -> list[str]:
    """The public names that are meant: `TopK`, `Stream.map`, or `map` for each class that has it."""
    if len(words) > 1:
        return []
    wanted = words[0].removeprefix("streamlet.").removesuffix("()")
    exact = [topic for name, topic in names.items() if wanted in (name, name.rpartition(".")[2])]
    near = exact or [topic for name, topic in names.items() if name.casefold() == wanted.casefold()]
    return [topic.read() for topic in near]


def _command(words: tuple[str, ...]) -> list[str]:
    """What `streamlet COMMAND --help` prints, for `streamlet help COMMAND`."""
    context = click.get_current_context().find_root()
    for word in words:
        command = context.command.get_command(context, word) if isinstance(context.command, click.Group) else None
        if command is None:
            return []
        context = click.Context(command, info_name=word, parent=context)
    return [context.get_help()]


def _plain(name: str) -> str:
    return re.sub(r"[\s_-]", "", name).casefold()


class _Paragraph(NamedTuple):
    topic: Topic
    text: str
    folded: str
    title: str


def _search(words: tuple[str, ...], texts: Iterable[Topic], code: Iterable[Topic]) -> str:
    """The paragraphs that have the words; of the code only where they lie. Empty when nothing has them."""
    wanted = [word.casefold().strip("?!.,;:") for phrase in words for word in phrase.split()]
    stems = [_stem(word) for word in wanted if word and word not in _EMPTY_WORDS]
    if not stems:
        return ""
    found = _having(stems, _paragraphs(texts))
    in_code = _having(stems, _paragraphs(code))
    seen = {_flat(paragraph.text) for paragraph in found}
    in_code = [paragraph for paragraph in in_code if _flat(paragraph.text) not in seen]
    parts = [f"{_from(paragraph.topic)}\n\n{paragraph.text}" for paragraph in found[:_MOST_FOUND]]
    if further := list(dict.fromkeys(paragraph.topic.name for paragraph in found[_MOST_FOUND:])):
        parts.append(f"== also in: {', '.join(further[:20])}")
    if in_code:
        lines = [f"{one.topic.name} {one.topic.title}\n    {_first_line(one.text)}" for one in in_code[:_MOST_FOUND]]
        parts.append("== in the code\n\n" + "\n".join(lines))
    return "\n\n".join(parts)


def _having(stems: list[re.Pattern[str]], paragraphs: Iterable[_Paragraph]) -> list[_Paragraph]:
    """The paragraphs that have most of the words, each once; a rare word counts for more, in a title for less."""
    texts = list({_flat(one.text): one for one in paragraphs}.values())
    inside = [[len(stem.findall(one.folded)) for stem in stems] for one in texts]
    having = [sum(1 for counts in inside if counts[word]) for word in range(len(stems))]
    if sum(map(bool, having)) <= len(stems) // 2:
        return []
    weights = [math.log(len(texts) / count) if count else 0.0 for count in having]
    scored: list[tuple[float, float, _Paragraph]] = []
    for one, counts in zip(texts, inside, strict=True):
        found = [
            1.0 if count else 0.4 * bool(stem.search(one.title)) for count, stem in zip(counts, stems, strict=True)
        ]
        score = sum(map(operator.mul, found, weights))
        if score and any(counts):
            scored.append((score, sum(counts) / (len(one.text) + 400), one))
    best = max((score for score, _, _ in scored), default=0.0)
    near = [entry for entry in scored if entry[0] >= 0.75 * best]
    return [one for _, _, one in sorted(near, key=lambda entry: (-round(entry[0] / best, 1), -entry[1]))]


def _paragraphs(texts: Iterable[Topic]) -> Iterator[_Paragraph]:
    for topic in texts:
        for text in _BETWEEN.split(topic.read()):
            if text.strip():
                yield _Paragraph(topic, text, text.casefold(), f"{topic.name} {topic.title}".casefold())


def _stem(word: str) -> re.Pattern[str]:
    """Finds words that begin like this one without its ending, so that `decided` finds `decides`."""
    stem = re.sub(r"(ing|ed|s)$", "", word) if len(word) > 4 else word
    return re.compile((r"\b" if stem[0].isalnum() else "") + re.escape(stem))


def _from(topic: Topic) -> str:
    return f"== streamlet help {topic.name}"


def _first_line(text: str) -> str:
    return _flat(text)[:110]


def _flat(text: str) -> str:
    return " ".join(text.split())


def _unknown(words: tuple[str, ...], names: list[str]) -> str:
    import difflib

    wanted = " ".join(words)
    by_folded = {name.casefold(): name for name in names} | {
        name.rpartition(".")[2].casefold(): name for name in names if "." in name
    }
    near = difflib.get_close_matches(wanted.casefold(), by_folded, 5, 0.6)
    nearest = list(dict.fromkeys(by_folded[one] for one in near))
    hint = f"did you mean {', '.join(nearest)}?" if nearest else "streamlet help lists all topics"
    return f"streamlet: no topic, name or text has {wanted[:80]!r}\n  -> {hint}"
