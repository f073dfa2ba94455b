"""Files as sources and as an exactly-once sink.

Sources: source.py (JsonLines, Csv, TextLines) -> finding.py (which files there are) and reader.py (batches) ->
rotation.py (one file while names change), cursor.py (how far it is read) -> lineage.py (which file is which),
position.py (what a checkpoint keeps of it), chunks.py (whole records) -> content.py (bytes, unpacked), records.py
(where a record ends), charset.py (characters).  CSV: csv_layout.py (where a record ends), csv_records.py (what it
says), csv_types.py (what its cells become).
Sink: sink.py (FileSink and its writer) and committer.py -> output.py (one output file, step by step).
"""

from streamlet_connectors.files.errors import FileChangedError, FileMissingError
from streamlet_connectors.files.sink import FileSink
from streamlet_connectors.files.source import Csv, JsonLines, TextLines

__all__ = ["Csv", "FileChangedError", "FileMissingError", "FileSink", "JsonLines", "TextLines"]
