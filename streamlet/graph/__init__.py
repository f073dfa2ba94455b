"""JobGraph, its validation, and the ExecutionPlan: pure data.

May import: contracts, state, operators, operators.user_code, state.evolution
"""
