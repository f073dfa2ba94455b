"""What a user writes: it builds a JobGraph and runs nothing.

`Job` and `Stream` are names of `streamlet` itself.  The names here are for annotations: a method makes what they stand
for, such as `stream.key_by(...)` a `KeyedStream`.

May import: contracts, graph, state, state.encoding, operators, operators.user_code, operators.aggregates,
operators.windows, operators.joins, operators.asynchronous
"""

from streamlet.dsl.connected import BroadcastConnectedStreams, ConnectedStreams
from streamlet.dsl.keyed import KeyedStream
from streamlet.dsl.policies import OnError
from streamlet.dsl.windowed import WindowedStream
from streamlet.dsl.written import Written
from streamlet.operators.timer_service import TimerService

__all__ = [
    "BroadcastConnectedStreams",
    "ConnectedStreams",
    "KeyedStream",
    "OnError",
    "TimerService",
    "WindowedStream",
    "Written",
]
