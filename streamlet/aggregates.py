"""All aggregate functions: for `keyed.aggregate(...)`, for windows, for `AggregatingState`.

Each says in its docstring what its state holds, and so how large that becomes.  `AggregateFunction` is the contract for
your own.
"""

from streamlet.operators.aggregates.collecting import ApproxDistinct, Collect, Distinct, TopK
from streamlet.operators.aggregates.functions import AggregateFunction, Composed, Count, Max, Mean, Min, Sum

__all__ = [
    "AggregateFunction",
    "ApproxDistinct",
    "Collect",
    "Composed",
    "Count",
    "Distinct",
    "Max",
    "Mean",
    "Min",
    "Sum",
    "TopK",
]
