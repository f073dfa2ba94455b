"""Aggregates: a function of the values of one key, kept as an accumulator.

`functions` (Sum, Count, Min ... and the contract) <- `collecting` (those that keep values) <- `rolling` (the operators
that give one result per record).  Windows use the same functions.

May import: contracts, state, state.memory, operators, operators.user_code, state.evolution
"""
