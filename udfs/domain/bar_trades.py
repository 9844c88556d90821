"""The trades of one bar, kept so that one of them can be changed or taken back.

Ordering: in the order of their coming; a changed trade keeps its place.
Invariants: none but what the caller gives.
Known limits: prices and volumes below 2^50, offsets below 2^44 ns (five hours). Trades are known by time, price and volume:
of two that are alike in all three the first is changed, which is the same for every bar.
Complexity: constant to add, linear to change. A trade is one number of 44 bytes.
"""

from typing import Final

from udfs.domain.state_codec import StateReader, StateWriter

_OFFSET_BITS: Final = 44
_VOLUME_BITS: Final = 50
_OFFSET_MASK: Final = (1 << _OFFSET_BITS) - 1
_VOLUME_MASK: Final = (1 << _VOLUME_BITS) - 1


class BarTrades:
    """Trades as packed numbers."""

    __slots__ = ("_packed",)

    def __init__(self) -> None:
        self._packed: list[int] = []

    def add(self, price_e4: int, volume: int, offset_ns: int) -> None:
        """A trade so many ns after the start of the bar."""
        self._packed.append(_pack(price_e4, volume, offset_ns))

    def change(self, offset_ns: int, price_e4: int, volume: int, new_price_e4: int, new_volume: int) -> bool:
        """Replace a trade, or take it out when `new_volume` is 0; False when it is not here."""
        wanted = _pack(price_e4, volume, offset_ns)
        if wanted not in self._packed:
            return False
        place = self._packed.index(wanted)
        if new_volume > 0:
            self._packed[place] = _pack(new_price_e4, new_volume, offset_ns)
        else:
            del self._packed[place]
        return True

    def count(self) -> int:
        """How many there are."""
        return len(self._packed)

    def price_e4(self, place: int) -> int:
        """Price of a trade."""
        return self._packed[place] >> _OFFSET_BITS + _VOLUME_BITS

    def volume(self, place: int) -> int:
        """Shares of a trade."""
        return self._packed[place] >> _OFFSET_BITS & _VOLUME_MASK

    def offset_ns(self, place: int) -> int:
        """Time of a trade since the start of the bar."""
        return self._packed[place] & _OFFSET_MASK

    def write(self, out: StateWriter) -> None:
        """Put the state into a snapshot."""
        out.put(len(self._packed))
        for place in range(len(self._packed)):
            out.put(self.price_e4(place))
            out.put(self.volume(place))
            out.put(self.offset_ns(place))

    def read(self, reader: StateReader) -> None:
        """Take the state from a snapshot."""
        self._packed = []
        for _ in range(reader.take()):
            price_e4, volume = reader.take(), reader.take()
            self.add(price_e4, volume, reader.take())


def _pack(price_e4: int, volume: int, offset_ns: int) -> int:
    return (price_e4 << _VOLUME_BITS | volume) << _OFFSET_BITS | offset_ns
