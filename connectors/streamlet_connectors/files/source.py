"""File sources: JSON lines, CSV and plain lines, of one file, several, or all that match a glob."""

from __future__ import annotations

import asyncio
import glob
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Generic, TypedDict, TypeVar, Unpack, overload

from streamlet import JobDefinitionError, Json, Position, ReaderContext, Source
from streamlet_connectors.files.chunks import MAX_RECORD_BYTES, FilePosition
from streamlet_connectors.files.errors import FileMissingError
from streamlet_connectors.files.reader import FileOptions, FilesReader, Policy
from streamlet_connectors.files.records import CsvLayout, Layout, Lines, LineText

T = TypeVar("T")

Paths = str | os.PathLike[str] | Sequence[str | os.PathLike[str]]


class Reading(TypedDict, total=False):
    """What every file source may be told by keyword."""

    follow: bool
    """True to go on for ever: read what is appended, and files that appear. False (default): to the end, once."""
    on_bad_record: Policy
    """`"fail"` (default) stops at a record that cannot be decoded; `"skip"` leaves it out with a warning."""
    on_missing_file: Policy
    """`"fail"` (default) stops when a file that was read before is gone; `"skip"` takes it as read to its end."""
    poll_seconds: float
    """How long to wait when there is nothing to read: 0 to 0.2, default 0.1."""
    max_record_bytes: int
    """A longer record, line feed included, stops the job: 1024 to 1 GiB, default 16 MiB."""


class _FileSource(Source[T], Generic[T]):
    """A set of files, each a split named by its path as it was given.

    Exactly-once needs files that only grow: a file that was replaced, cut, rotated or written over below the position
    reached stops the job with `FileChangedError`.  Without `follow` each file is read to its end once; with it, lines
    that are appended and files that appear later are read as they come, and an unfinished last line waits.
    """

    def __init__(
        self,
        paths: Paths,
        layout: Layout[T],
        *,
        follow: bool = False,
        on_bad_record: Policy = "fail",
        on_missing_file: Policy = "fail",
        poll_seconds: float = 0.1,
        max_record_bytes: int = MAX_RECORD_BYTES,
    ) -> None:
        several = [paths] if isinstance(paths, str | os.PathLike) else list(paths)
        self._patterns = [os.fspath(path) for path in several]
        if not all(self._patterns) or not several:
            raise JobDefinitionError("a file source has no path", remedy="name a file, a glob, or a list of them")
        for name, policy in (("on_bad_record", on_bad_record), ("on_missing_file", on_missing_file)):
            if policy not in ("fail", "skip"):
                raise JobDefinitionError(f"{name}={policy!r} of a file source", remedy="say 'fail' or 'skip'")
        if not 0 <= poll_seconds <= 0.2:
            raise JobDefinitionError(f"poll_seconds={poll_seconds} of a file source", remedy="say 0 to 0.2")
        if not 1024 <= max_record_bytes <= 1 << 30:
            raise JobDefinitionError(
                f"max_record_bytes={max_record_bytes} of a file source", remedy="say 1024 to 1 GiB (1 << 30)"
            )
        self.bounded = not follow
        self.discovery_interval_seconds = 1.0 if follow else None
        self._options = FileOptions(
            layout=layout,
            bounded=not follow,
            on_bad_record=on_bad_record,
            on_missing_file=on_missing_file,
            poll_seconds=poll_seconds,
            max_record_bytes=max_record_bytes,
        )

    async def discover(self, known: Mapping[str, Position]) -> Mapping[str, Position]:
        return await asyncio.to_thread(self._discover, known)

    def reader(self, context: ReaderContext, splits: Mapping[str, Position]) -> FilesReader[T]:
        return FilesReader(context, self._options, splits)

    def _discover(self, known: Mapping[str, Position]) -> dict[str, Position]:
        found = [path for pattern in self._patterns for path in self._matching(pattern)]
        if self._options.on_missing_file == "fail":
            for path in known:
                if not Path(path).is_file():
                    raise FileMissingError(
                        f"file {path} was read before and is gone",
                        remedy="put it back as it was, or pass on_missing_file='skip' if it had been read to its end",
                    )
        if not found and not known and self.bounded:
            raise FileMissingError(
                f"no file matches {', '.join(self._patterns)} (in {Path.cwd()})",
                remedy="check the path, or pass follow=True to wait for files that come later",
            )
        return {path: FilePosition().plain() for path in dict.fromkeys(found) if path not in known}

    def _matching(self, pattern: str) -> list[str]:
        path = Path(pattern)
        if path.is_dir():
            raise FileMissingError(
                f"{pattern} is a directory", remedy=f"name its files with a glob: {path / '*.jsonl'} or {path / '**'}"
            )
        if path.exists():
            return [pattern]
        if glob.has_magic(pattern):
            matches = glob.glob(pattern, recursive=True)  # noqa: PTH207 - takes absolute patterns, skips hidden files
            return sorted(match for match in matches if Path(match).is_file())
        if self.bounded or not path.parent.is_dir():
            raise FileMissingError(
                f"there is no file {pattern} (in {Path.cwd()})",
                remedy="check the path, or pass follow=True to wait for a file that comes later",
            )
        return []


class JsonLines(_FileSource[T]):
    """One JSON document per line: `JsonLines("in/*.jsonl", Payment)` gives Payments, without a type dicts and lists.

    Blank lines are no records.  Options by keyword: see `Reading`.
    """

    @overload
    def __init__(self: JsonLines[Any], paths: Paths, **reading: Unpack[Reading]) -> None: ...
    @overload
    def __init__(self, paths: Paths, type: type[T], **reading: Unpack[Reading]) -> None: ...
    def __init__(self, paths: Paths, type: Any = Any, **reading: Unpack[Reading]) -> None:
        super().__init__(paths, Lines(Json(type), skips_blank=True), **reading)


class TextLines(_FileSource[str]):
    """One text per line, without its line end (LF or CRLF). An empty line is an empty text.

    Options by keyword: see `Reading`.
    """

    def __init__(self, paths: Paths, *, encoding: str = "utf-8", **reading: Unpack[Reading]) -> None:
        try:
            plain = "\r\n".encode(encoding) == b"\r\n"
        except LookupError:
            plain = False
        if not plain:
            raise JobDefinitionError(
                f"TextLines cannot cut lines in encoding {encoding!r}",
                remedy="use utf-8, latin-1 or another one that extends ASCII; convert UTF-16 files to UTF-8",
            )
        super().__init__(paths, Lines(LineText(encoding), skips_blank=False), **reading)


class Csv(_FileSource[T]):
    """Comma separated values in UTF-8: `Csv("in.csv", type=Payment)` converts each record to the type's fields.

    Without a type a record is a dict of texts by field name, or with `header=False` a list of texts.  `header` may also
    name the fields of files that have no header line.  A quoted field may hold delimiters, doubled quotes and line
    feeds.  Blank lines are no records.  Options by keyword: see `Reading`.
    """

    @overload
    def __init__(
        self: Csv[Any],
        paths: Paths,
        *,
        header: bool | Sequence[str] = ...,
        delimiter: str = ...,
        **reading: Unpack[Reading],
    ) -> None: ...
    @overload
    def __init__(
        self,
        paths: Paths,
        *,
        header: bool | Sequence[str] = ...,
        delimiter: str = ...,
        type: type[T],
        **reading: Unpack[Reading],
    ) -> None: ...
    def __init__(
        self,
        paths: Paths,
        *,
        header: bool | Sequence[str] = True,
        delimiter: str = ",",
        type: Any = None,
        **reading: Unpack[Reading],
    ) -> None:
        if len(delimiter) != 1 or not delimiter.isascii() or delimiter in '"\r\n':
            raise JobDefinitionError(f"delimiter={delimiter!r} of Csv", remedy="say one ASCII character, such as ';'")
        fields = None if isinstance(header, bool) else header
        layout: CsvLayout[T] = CsvLayout(header=header is True, fields=fields, delimiter=delimiter, type=type)
        super().__init__(paths, layout, **reading)
