"""How the simulated connectors of a world reach the outside: see `connectors.Line`."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from streamlet.testing.process import Process
    from tests.simulation.outside import Outside
    from tests.simulation.scenario import Faults
    from tests.simulation.world import World


class WorldLine:
    """Whoever runs now is the one who asks."""

    def __init__(self, world: World) -> None:
        self._world = world
        self.pinned: dict[str, int] = {}

    @property
    def outside(self) -> Outside:
        return self._world.outside

    @property
    def faults(self) -> Faults:
        return self._world.faults

    @property
    def current(self) -> Process:
        assert self._world.current is not None, "only a process asks"
        return self._world.current

    def now(self) -> float:
        return self._world.clock.seconds

    def ask(self, action: Callable[[], Any], connection: str = "", *, times: float = 1) -> Awaitable[Any]:
        self._world.count("outside")
        return self._world.network.ask(self.current, action, connection, times=times)

    def chance(self, name: str) -> bool:
        return self._world.chance(name)

    def number(self, most: int) -> int:
        return self._world.random.randint(0, most)

    def read_to(self, positions: Mapping[str, int]) -> None:
        world = self._world
        if world.current is not None and not world.current.is_superseded:
            world.reading.reached(positions)

    def read_all(self) -> None:
        world = self._world
        if world.current is not None and not world.current.is_superseded:
            world.reading.has_nothing(world.current)
