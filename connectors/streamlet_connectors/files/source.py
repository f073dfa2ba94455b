"""File sources: JSON lines, CSV and plain lines, of one file, several, or all that match a glob."""

from __future__ import annotations

import asyncio
import builtins
import os
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, Generic, Literal, TypedDict, TypeVar, Unpack, overload

from streamlet import Json
from streamlet.connect import JobDefinitionError, Position, ReaderContext, Source
from streamlet_connectors.files.charset import Encoding
from streamlet_connectors.files.chunks import MAX_RECORD_BYTES
from streamlet_connectors.files.csv_layout import CsvLayout, dialect
from streamlet_connectors.files.csv_types import require_type
from streamlet_connectors.files.finding import FileFinder
from streamlet_connectors.files.reader import FileOptions, FilesReader, Policy
from streamlet_connectors.files.records import Layout, Lines, LineText
from streamlet_connectors.files.unread import unread

T = TypeVar("T")

Nan = Literal["refuse", "null", "literal"]
Surrogates = Literal["refuse", "replace"]
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
    """A longer record, line feed included, is a bad record: 1024 to 1 GiB, default 16 MiB."""
    encoding: str
    """Of the characters, as Python names it: default UTF-8. `"utf-16"` takes either byte order, by the file's mark."""
    line_end: str
    """What ends a line: `"\\n"` (default; `"\\r\\n"` is taken, too), or `"\\r"` as old Macs write."""


class _FileSource(Source[T], Generic[T]):
    """A set of files, each a split named by the path that it was found under.

    A file is known by its number and by what was read of it, so that links, other spellings and rotation make no other
    one of it.  Without `follow` each file is read to its end once, and one that was changed below the position reached
    stops the job with `FileChangedError`.  With it, lines that are appended and files that appear later are read as
    they come, and an unfinished last line waits; a file that was renamed or deleted is read to its end before the one
    that took its name, and one that was cut or written anew is read from its beginning, with a warning.  What gzip or
    zstd packed is unpacked.
    """

    _takes_any_text = False
    """True where any text is right, also a page's."""

    def __init__(
        self,
        paths: Paths,
        layout: Callable[[Encoding], Layout[T]],
        *,
        follow: bool = False,
        on_bad_record: Policy = "fail",
        on_missing_file: Policy = "fail",
        poll_seconds: float = 0.1,
        max_record_bytes: int = MAX_RECORD_BYTES,
        encoding: str = "utf-8",
        line_end: str = "\n",
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
        self._finder = FileFinder(self._patterns, bounded=not follow, fails_on_missing=on_missing_file == "fail")
        self.bounded = not follow
        self.discovery_interval_seconds = 1.0 if follow else None
        self._options = FileOptions(
            layout=layout(Encoding(encoding, line_end, is_any_text=self._takes_any_text)),
            bounded=not follow,
            on_bad_record=on_bad_record,
            on_missing_file=on_missing_file,
            poll_seconds=poll_seconds,
            max_record_bytes=max_record_bytes,
        )

    async def discover(self, known: Mapping[str, Position]) -> Mapping[str, Position]:
        return await asyncio.to_thread(self._finder.find, known)

    async def unread(self, known: Mapping[str, Position]) -> Sequence[str]:
        return await asyncio.to_thread(unread, self._finder.names(), known)

    def near(self, split: str, position: Position) -> str | None:
        return self._finder.near(split, position)

    def reader(self, context: ReaderContext, splits: Mapping[str, Position]) -> FilesReader[T]:
        return FilesReader(context, self._options, splits)


class JsonLines(_FileSource[T]):
    """One JSON document per line: `JsonLines("in/*.jsonl", Payment)` gives Payments, without a type dicts and lists.

    Lines that hold nothing but blanks are no records.  `nan` and `surrogates` are those of `Json`.  Other options by
    keyword: see `Reading`.
    """

    @overload
    def __init__(
        self: JsonLines[Any], paths: Paths, *, nan: Nan = ..., surrogates: Surrogates = ..., **reading: Unpack[Reading]
    ) -> None: ...
    @overload
    def __init__(
        self,
        paths: Paths,
        type: type[T],
        *,
        nan: Nan = ...,
        surrogates: Surrogates = ...,
        **reading: Unpack[Reading],
    ) -> None: ...
    def __init__(
        self,
        paths: Paths,
        type: Any = Any,
        *,
        nan: Nan = "refuse",
        surrogates: Surrogates = "refuse",
        **reading: Unpack[Reading],
    ) -> None:
        def make(encoding: str) -> Json[T]:
            return Json(type, nan=nan, surrogates=surrogates, encoding=encoding)

        make("utf-8")  # refuses what is no option
        super().__init__(paths, partial(Lines, make, skips_blank=True), **reading)


class TextLines(_FileSource[str]):
    """One text per line, without its line end (LF or CRLF). An empty line is an empty text.

    Options by keyword: see `Reading`.
    """

    _takes_any_text = True

    def __init__(self, paths: Paths, **reading: Unpack[Reading]) -> None:
        super().__init__(paths, partial(Lines, LineText, skips_blank=False), **reading)


class Csv(_FileSource[T]):
    """Comma separated values: `Csv("in.csv", type=Payment)` converts each record to the type's fields.

    Without a type a record is a dict of texts by field name, or with `header=False` a list of texts.  `header` may also
    name the fields of files that have no header line.  With a type, an empty cell of a field that may be None is None,
    and a field of text stays as it is, with its zeros.

    `delimiter`, `quote`, `escape`, `doublequote` and `skip_spaces` say the dialect, as Python's csv module does (there:
    quotechar, escapechar, skipinitialspace); `quote=None` where quotes are characters like others, as in many TSV
    files.  `skip_lines` lines come before the header (or the first record).

    A quoted field may hold delimiters, doubled quotes and line feeds, up to `max_record_bytes`.  A record whose quotes
    are wrong is bad as the one line where it begins, and reading goes on behind that line.  Blank lines are no records.
    Other options by keyword: see `Reading`.
    """

    @overload
    def __init__(
        self: Csv[Any],
        paths: Paths,
        *,
        header: bool | Sequence[str] = ...,
        delimiter: str = ...,
        quote: str | None = ...,
        escape: str | None = ...,
        doublequote: bool = ...,
        skip_spaces: bool = ...,
        skip_lines: int = ...,
        **reading: Unpack[Reading],
    ) -> None: ...
    @overload
    def __init__(
        self,
        paths: Paths,
        *,
        header: bool | Sequence[str] = ...,
        delimiter: str = ...,
        quote: str | None = ...,
        escape: str | None = ...,
        doublequote: bool = ...,
        skip_spaces: bool = ...,
        skip_lines: int = ...,
        type: type[T],
        **reading: Unpack[Reading],
    ) -> None: ...
    def __init__(
        self,
        paths: Paths,
        *,
        header: bool | Sequence[str] = True,
        delimiter: str = ",",
        quote: str | None = '"',
        escape: str | None = None,
        doublequote: bool = True,
        skip_spaces: bool = False,
        skip_lines: int = 0,
        type: Any = None,
        **reading: Unpack[Reading],
    ) -> None:
        if builtins.type(skip_lines) is not int or skip_lines < 0:
            raise JobDefinitionError(f"skip_lines={skip_lines!r} of Csv", remedy="say how many lines, from 0 on")
        if type is not None:
            require_type(type)
        layout: Callable[[Encoding], CsvLayout[T]] = partial(
            CsvLayout,
            dialect=dialect(delimiter, quote, escape, doublequote, skip_spaces),
            header=header is True,
            fields=None if isinstance(header, bool) else header,
            skip_lines=skip_lines,
            type=type,
        )
        super().__init__(paths, layout, **reading)
