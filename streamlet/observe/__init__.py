"""Progress and metrics: they read facts and own no protocol state.

May import: contracts
"""
