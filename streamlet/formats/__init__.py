"""Formats: how values become bytes and back.

    Json(), Json(Payment)
        JSON documents; with a type, values of it.  `nan="null"` or `"literal"`, `surrogates="replace"` and `encoding=`
        are for what JSON does not have: NaN, infinity, and half a pair of surrogates are refused both ways, with their
        place, unless an option allows them.  Whole numbers of any size are exact.  A Decimal is written as text and
        bytes as base64, and a warning says so where no type is named.
    Text(), Bytes()
        text in an encoding, and bytes as they are

The code: contract.py (what a format is) <- plain.py (`Text`, `Bytes`), json.py (`Json`) -> json_reading.py,
json_writing.py (what is done about the record that cannot be read or written) -> recognising.py (what bytes are
that are something else).  A format works on whole columns; it goes one by one only to find the bad record.

May import: contracts
"""

from streamlet.formats.contract import Format, encoded
from streamlet.formats.json import Json
from streamlet.formats.plain import Bytes, Text
from streamlet.formats.recognising import Recognised, recognise

__all__ = ["Bytes", "Format", "Json", "Recognised", "Text", "encoded", "recognise"]
