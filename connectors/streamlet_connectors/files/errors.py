"""What the file source says when the files are not what they were: final, for reading again would meet the same.

```text
FileMissingError   a file that was named, or that was read before, is not there
FileChangedError   the bytes that were read before are no longer what they were
RecordTooLongError no record ends within as many bytes as one may have
DamagedFileError   a packed file cannot be unpacked
```
"""

from __future__ import annotations

from streamlet.connect import DecodeError, FinalError, SourceError


class FileMissingError(FinalError, SourceError):
    """A file that was named, or that was read before, is not there (or is not a file)."""


class FileChangedError(FinalError, SourceError):
    """A file was replaced, cut or written over below the position that was reached: reading on would not be exact."""


class RecordTooLongError(DecodeError):
    """No record ends within as many bytes as one may have."""


class DamagedFileError(DecodeError):
    """A packed file is damaged or cut."""
