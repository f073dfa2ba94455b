"""Files as sources and as an exactly-once sink.

Sources: source.py (JsonLines, Csv, TextLines) -> reader.py (batches) -> chunks.py (bytes, positions, proof that a file
is the same) -> records.py (where a record ends), charset.py (characters), csv_layout.py -> csv_records.py, csv_types.py.
Sink: sink.py (FileSink and its writer) and committer.py -> output.py (one output file, step by step).
"""

from streamlet_connectors.files.errors import FileChangedError, FileMissingError
from streamlet_connectors.files.sink import FileSink
from streamlet_connectors.files.source import Csv, JsonLines, TextLines

__all__ = ["Csv", "FileChangedError", "FileMissingError", "FileSink", "JsonLines", "TextLines"]
