"""Values and keys as bytes, by declared type.

`types` (what a declaration means) -> `codec` (values) and `key_type` (keys); `key_groups` deals keys out to subtasks;
`extensions` carries what msgpack has no type for.  Everything here is pure.

May import: contracts
"""
