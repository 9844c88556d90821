"""Which symbols have fallen silent, by a clock that goes on with the records of others.

A symbol is stale when the clock of its Kafka partition, the newest time of the partition's records in this shard, is
`window_seconds` past the symbol's newest time. The record that moves the clock there is the cause. When the whole partition is
silent, the clock is reckoned on by the time that other partitions have gone on without it, and what it tells is the same.
Invariants: a machine that is LOW waits in the clock of its symbol's partition under its token; one that is NEW or HIGH is idle
in its symbol until a record of it comes.
Complexity: a record costs nothing but one comparison; a machine is looked at once in its `window_seconds`.
"""

from heapq import heappop, heappush
from typing import Final

from udfs.domain.alert_index import HIGH, LOW, NEVER, Machine
from udfs.domain.alert_symbol import AlertSymbol
from udfs.domain.partition_silence import PartitionSilence

_NS_PER_S: Final = 1_000_000_000


class Clock:
    """The newest time of a partition, its silence by the topic's progress, and the machines that wait for one."""

    __slots__ = ("newest_ns", "silence", "token", "waiting")

    def __init__(self) -> None:
        self.newest_ns: int = NEVER
        self.silence = PartitionSilence()
        self.waiting: list[tuple[int, int, Machine]] = []
        self.token: int = 0

    def wait(self, machine: Machine, symbol: AlertSymbol) -> None:
        """Look at the machine again when the symbol will have been silent for its time."""
        self.token += 1
        machine.state = LOW
        machine.clock = self
        machine.token = self.token
        heappush(self.waiting, (due_ns(machine, symbol), machine.token, machine))

    def stale(self, time_ns: int, symbols: dict[str, AlertSymbol]) -> list[Machine]:
        """The machines whose symbols are stale at a time, in the order of their numbers; they wait no more."""
        stale: list[Machine] = []
        waiting = self.waiting
        while waiting and waiting[0][0] <= time_ns:
            _, token, machine = heappop(waiting)
            # Removed, or its symbol has moved to another partition.
            if not machine.alive or machine.clock is not self or machine.token != token:
                continue
            symbol = symbols[machine.symbol]
            if due_ns(machine, symbol) <= time_ns:
                machine.state = HIGH
                symbol.idle.append(machine)
                stale.append(machine)
            else:
                self.wait(machine, symbol)
        if len(stale) > 1:
            stale.sort(key=_number)
        return stale


def see(symbol: AlertSymbol, clock: Clock, partition: int, time_ns: int) -> None:
    """A record of the symbol has come."""
    if time_ns > symbol.seen_ns:
        symbol.seen_ns = time_ns
    if symbol.partition != partition:
        symbol.partition = partition
        for machine in symbol.silent.values():
            clock.wait(machine, symbol)
        symbol.idle = []
    elif symbol.idle:
        for machine in symbol.idle:
            if machine.alive:
                clock.wait(machine, symbol)
        symbol.idle = []


def due_ns(machine: Machine, symbol: AlertSymbol) -> int:
    """When the symbol is stale if nothing more comes."""
    return symbol.seen_ns + machine.rule.window_seconds * _NS_PER_S


def _number(machine: Machine) -> int:
    return machine.number
