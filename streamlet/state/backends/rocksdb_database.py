"""RocksDB as this engine uses it: written by ingestion only, read by point and by prefix, never repaired.

All use of rocksdict is here.  Its errors are plain `Exception`s with RocksDB's text.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

from rocksdict import (
    AccessType,
    BlockBasedIndexType,
    BlockBasedOptions,
    Cache,
    Checkpoint,
    DBCompactionStyle,
    DBCompressionType,
    IngestExternalFileOptions,
    Options,
    Rdict,
    SstFileWriter,
)

from streamlet.errors import CheckpointDamagedError, DiskFailedError, DiskFullError, StateDirectoryError
from streamlet.ports import Disk
from streamlet.state.snapshot import FileRef, SnapshotFiles

BLOOM_BITS = 10
"""1 % of the reads of absent keys touch a block; a new key is the most frequent read of all."""
WRITE_BUFFER_BYTES = 64 << 10
"""Nothing is ever written through a memtable: as small as RocksDB takes it."""
LOG_BYTES = 1 << 20
"""RocksDB's own log is begun anew at this size, and one old one is kept."""
SORTED_RUNS = 8
"""RocksDB merges files when there are so many. With 4 it writes twice the bytes, and reading is no faster."""
SHARED_SUFFIX = ".sst"
_TABLE = re.compile(r"(\d{1,20})\.sst|table file (\d{1,20})", re.ASCII)
_ROLE = re.compile(r"CURRENT|(?:MANIFEST|OPTIONS)-\d{1,20}|\d{1,20}\.(?:sst|log)|rocksdict-config\.json", re.ASCII)


def options(cache_bytes: int, *, create: bool) -> Options:
    """Options for the working database and for the files that are ingested into it."""
    table = BlockBasedOptions()
    table.set_block_cache(Cache(cache_bytes))
    # Inside the cache, so that the bound holds for a state of any size.
    table.set_cache_index_and_filter_blocks(True)
    # In partitions: a whole filter of millions of keys fits in no shard of a small cache, and then every single read
    # would read it anew.
    table.set_index_type(BlockBasedIndexType.two_level_index_search())
    table.set_partition_filters(True)
    table.set_metadata_block_size(4096)
    table.set_pin_top_level_index_and_filter(True)
    table.set_bloom_filter(BLOOM_BITS, False)
    table.set_format_version(5)
    opts = Options(raw_mode=True)
    # Never silently empty: a restored database without CURRENT is an error.
    opts.create_if_missing(create)
    opts.set_paranoid_checks(True)
    opts.set_block_based_table_factory(table)
    opts.set_compression_type(DBCompressionType.lz4())
    opts.set_write_buffer_size(WRITE_BUFFER_BYTES)
    # Its log of what it does is for nobody: kept short, for a working copy may live for months.
    opts.set_max_log_file_size(LOG_BYTES)
    opts.set_keep_log_file_num(1)
    opts.set_max_background_jobs(2)
    # Folds bring keys from all over the state, so each overlaps everything: merging files of about the same size writes
    # an entry a few times, merging each into one large level many times, and all of it goes into checkpoints.
    opts.set_compaction_style(DBCompactionStyle.universal())
    opts.set_level_zero_file_num_compaction_trigger(SORTED_RUNS)
    return opts


def write_sst(path: Path, entries: Iterator[tuple[bytes, bytes | None]]) -> int:
    """Writes entries, which come in ascending order of keys, as one SST file; None is a tombstone.

    Gives their number; RocksDB refuses a file without any, so then there is no file.
    """
    writer = SstFileWriter(options(1 << 20, create=False))
    count = 0
    for key, value in entries:
        if not count:
            writer.open(str(path))
        if value is None:
            del writer[key]
        else:
            writer[key] = value
        count += 1
    if count:
        writer.finish()
    return count


class RocksBase:
    """The working database of one store: always exactly the state at one cut."""

    def __init__(
        self,
        folder: Path,
        cache_bytes: int,
        *,
        create: bool,
        sources: Mapping[str, Path] | None = None,
        is_read_only: bool = False,
    ) -> None:
        self._folder = folder
        self._sources = dict(sources or {})
        access = AccessType.read_only() if is_read_only else AccessType.read_write()
        try:
            self._db: Any = Rdict(str(folder), options(cache_bytes, create=create), access_type=access)
        except Exception as error:
            self._raise(error)
        self.is_empty = create

    @classmethod
    def link(cls, files: SnapshotFiles, base: Sequence[FileRef], folder: Path, cache_bytes: int) -> RocksBase:
        """Opens a checkpoint's base in `folder`. Blocks.

        SST files are linked, for RocksDB never writes into one; the small files are copied, for it does write those.
        """
        disk = files.disk
        disk.make_folders(folder.parent)
        disk.make_folder(folder)
        sources: dict[str, Path] = {}
        for ref in base:
            source = sources[ref.role] = files.path(ref)
            try:
                _place(disk, ref.role, source, folder)
            except FileNotFoundError as error:
                raise CheckpointDamagedError(
                    f"file {source} ({ref.role}) of the checkpoint is missing",
                    remedy="restore an older checkpoint with --from",
                ) from error
        return cls(folder, cache_bytes, create=False, sources=sources)

    @classmethod
    def read_only(cls, folder: Path, cache_bytes: int) -> RocksBase:
        """Opens the files of a checkpoint's base in `folder` for reading: nothing is merged there. Blocks."""
        return cls(folder, cache_bytes, create=False, is_read_only=True)

    def get(self, keys: Sequence[bytes]) -> Sequence[bytes | None]:
        """Gives the value of each key; one call for many keys costs 0.8 us each instead of 2-3."""
        try:
            return [self._db.get(keys[0])] if len(keys) == 1 else self._db.get(list(keys))
        except Exception as error:
            self._raise(error)

    def scan(self, prefix: bytes) -> Iterator[tuple[bytes, bytes]]:
        """Gives the entries whose key begins with `prefix`, in order."""
        for key, value in self.range(prefix):
            if not key.startswith(prefix):
                return
            yield key, value

    def range(self, low: bytes) -> Iterator[tuple[bytes, bytes]]:
        """Gives the entries from `low` on, in order."""
        # Not `items()`: it ends quietly where a block is damaged; only `status` of an iterator tells.
        iterator = self._db.iter()
        try:
            iterator.seek(low)
            is_valid, key, value, step = iterator.valid, iterator.key, iterator.value, iterator.next
            while is_valid():
                yield key(), value()
                step()
            iterator.status()
        except Exception as error:
            self._raise(error)

    def keys(self, low: bytes, high: bytes, limit: int) -> list[bytes]:
        """Gives the first keys from `low` to before `high`, in order."""
        found: list[bytes] = []
        for key, _ in self.range(low):
            if key >= high or len(found) == limit:
                break
            found.append(key)
        return found

    def ingest(self, sst: Path) -> None:
        """Takes a sorted file in by moving it. Blocks, 2-7 ms."""
        move = IngestExternalFileOptions()
        move.set_move_files(True)
        try:
            self._db.ingest_external_file([str(sst)], move)
        except Exception as error:
            self._raise(error)
        self.is_empty = False

    def checkpoint(self, disk: Disk, folder: Path) -> list[Path]:
        """Links a consistent copy into `folder` and gives its files. Blocks, 1-6 ms whatever the size."""
        try:
            Checkpoint(self._db).create_checkpoint(str(folder))
        except Exception as error:
            self._raise(error)
        return [folder / name for name in disk.names(folder)]

    def close(self) -> None:
        """Closes the database. Iterators that are still held keep its files open."""
        self._db.close()

    def _raise(self, error: Exception) -> NoReturn:
        if isinstance(error, (CheckpointDamagedError, DiskFailedError, DiskFullError, StateDirectoryError)):
            raise error
        text = str(error)
        if "Corruption" in text or "does not exist" in text or "No such file" in text:
            raise CheckpointDamagedError(
                f"the restored state in {self._folder} is damaged: {text}{self._named(text)}",
                remedy="check the disk, see which files are damaged with `streamlet checkpoints verify`, restore an "
                "older checkpoint with --from",
            ) from error
        if "No space left" in text or "Disk quota exceeded" in text:
            raise DiskFullError(f"RocksDB cannot write to {self._folder}: {text}", remedy="free space there") from error
        if "Input/output error" in text or "Stale file handle" in text:
            # Only the working copy is lost with it: the next attempt links another one from the checkpoint.
            raise DiskFailedError(
                f"the disk failed under RocksDB in {self._folder}: {text}", remedy="check the disk"
            ) from error
        raise StateDirectoryError(
            f"RocksDB cannot use {self._folder}: {text}", remedy="check space, rights and limits of open files there"
        ) from error

    def _named(self, text: str) -> str:
        """Which files of the checkpoint an error of RocksDB is about; it often names its MANIFEST besides."""
        numbers = {int(number) for groups in _TABLE.findall(text) for number in groups if number}
        tables = [role for role in self._sources if role.endswith(SHARED_SUFFIX)]
        roles = [role for role in tables if int(role.removesuffix(SHARED_SUFFIX)) in numbers]
        roles = roles or [role for role in self._sources if f"/{role}" in text] or tables
        files = ", ".join(f"{self._sources[role]} ({role})" for role in roles)
        return f"; from the checkpoint's file {files}" if files else ""


def _place(disk: Disk, role: str, source: Path, folder: Path) -> None:
    """Puts a file of a checkpoint where RocksDB looks for it: under a name that RocksDB gives, and never over another,
    since that may be a link to the checkpoint's own file."""
    target = folder / role
    if _ROLE.fullmatch(role) is None or disk.exists(target):
        raise CheckpointDamagedError(
            f"the checkpoint names {source} as {role[:80]!r}, which no RocksDB has once",
            remedy="restore a checkpoint that streamlet wrote",
        )
    if role.endswith(SHARED_SUFFIX):
        _link(disk, source, target)
    else:
        disk.copy(source, target)


def _link(disk: Disk, source: Path, target: Path) -> None:
    try:
        disk.link(source, target)
    except FileNotFoundError:
        raise
    except OSError:
        # Another file system, or one without hard links.
        disk.copy(source, target)
