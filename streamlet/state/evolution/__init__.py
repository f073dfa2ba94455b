"""What a value of a state is, as data, and how the value of one type becomes that of another.

```text
schema.py      what a value of a state is, as data in the manifest
describing.py  declared type -> its schema; schema -> text for people, and a type that decodes it without the job
needs.py       what a difference needs, and what the job says of it
differing.py   old schema, new schema -> differences, and a step from old to new plain data
parts.py       the same for the functions of an aggregate, found by name
converting.py  step, or function of the user's -> from old bytes to new ones
findings.py    what is said of each state, source and sink, and what the user has allowed
```

Everything here is pure.

May import: contracts, state.encoding
"""
