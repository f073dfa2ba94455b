"""Asynchronous functions: many records in flight in a chain that is otherwise synchronous.

`map_async` starts and collects, `in_flight` keeps order and is what a checkpoint holds, `retry` says when to call
again.

May import: contracts, state.encoding, state.memory, operators, operators.user_code
"""
