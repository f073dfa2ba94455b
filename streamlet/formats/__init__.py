"""How values become bytes and back.

contract.py (what a format is) <- plain.py (`Text`, `Bytes`), json.py (`Json`) -> json_reading.py, json_writing.py (what
is done about the record that cannot be read or written) -> recognising.py (what bytes are that are something else).
A format works on whole columns; it goes one by one only to find the bad record.
"""

from streamlet.formats.contract import Format, encoded
from streamlet.formats.json import Json
from streamlet.formats.plain import Bytes, Text
from streamlet.formats.recognising import Recognised, recognise

__all__ = ["Bytes", "Format", "Json", "Recognised", "Text", "encoded", "recognise"]
