"""Accounts, positions and open orders as values: what accounts.py keeps in step.

Ordering: the replacements of an order wait in the order of their approval.
Invariants: those of accounts.py; money in 1/10,000, quantities in shares or contracts.
Complexity: constant; `relock` is linear in the positions of a cash account that writes options.
"""

from __future__ import annotations

from typing import Final

from schemas.messages.enums import SIDE_BUY
from udfs.domain.corporate_actions import Action
from udfs.domain.cushion import Band, Cushion
from udfs.domain.instruments import InstrumentState
from udfs.domain.margin_state import MarginState

NO_LIMIT: Final = -1
MODE_ACTIVE: Final = 0
MODE_REDUCE: Final = 1
MODE_KILL: Final = 2


class Position:
    """Units of one instrument in one account: held (negative: owed), and open in orders.

    `locked`: shares that written calls of a cash account are covered by. `basis_e4`: of a future, the sum of contracts
    times the price that each was bought at or last settled at; `unpriced` contracts were there when the account was
    loaded and count at the first settlement price. `orders`: those of a margin account that are open, as they came.
    `band`: the one of its instrument at which its account's cushion has counted it last.
    """

    __slots__ = (
        "band",
        "basis_e4",
        "closing",
        "instrument",
        "loaded",
        "locked",
        "open_buys",
        "open_sells",
        "open_shorts",
        "opened_today",
        "orders",
        "oversold",
        "quantity",
        "symbol",
        "unpriced",
    )

    def __init__(self, instrument: InstrumentState) -> None:
        self.instrument = instrument
        self.symbol: str = instrument.symbol
        self.quantity: int = 0
        self.loaded: int = 0
        self.open_buys: int = 0
        self.open_sells: int = 0
        self.open_shorts: int = 0
        self.locked: int = 0
        # Shares on offer that an assignment took away; the offers stand until they are cancelled or filled.
        self.oversold: int = 0
        self.basis_e4: int = 0
        self.unpriced: int = 0
        # For day trades: units opened since the session began, and whether the last fill closed some of them.
        self.opened_today: int = 0
        self.closing: bool = False
        self.orders: dict[str, OpenOrder] = {}
        self.band: Band | None = None

    def counted_band(self, cushion: Cushion) -> Band | None:
        """The band that a cushion counts the position at from now on; None: it cannot be counted."""
        band = self.instrument.marked_band()
        if band is not None and band is not self.band:
            band.cushions.append(cushion)
            self.band = band
        return band

    def offered(self) -> int:
        """Units open in orders to sell, of every marking."""
        return self.open_sells + self.open_shorts


class GroupHold:
    """What the open orders of a margin account on one underlying reserve together (margin_groups.py)."""

    __slots__ = ("maintenance_e4", "reserved_e4")

    def __init__(self, reserved_e4: int, maintenance_e4: int) -> None:
        self.reserved_e4 = reserved_e4
        self.maintenance_e4 = maintenance_e4


class AccountState:
    """An account; money in 1/10,000. `cash_e4` is moved by fills, `reserved_e4` is promised to open orders.

    `secured_e4`: cash that stands behind written puts of a cash account. Limits that are `NO_LIMIT` are not checked;
    `guarded` says whether any of them, or a switch of the desk, has to be looked at.
    """

    __slots__ = (
        "account_id",
        "active",
        "cash_e4",
        "close_outs",
        "commission_e4",
        "cushion",
        "day_notional_e4",
        "desk",
        "duplicate_window_ms",
        "fails",
        "groups",
        "guarded",
        "locates",
        "margin",
        "max_concentration",
        "max_daily_notional_e4",
        "max_open_orders",
        "max_order_notional_e4",
        "max_order_quantity",
        "max_orders_per_second",
        "max_position",
        "max_price_deviation",
        "mode",
        "name",
        "notices",
        "open_orders",
        "opening_cash_e4",
        "order_times",
        "order_times_at",
        "orders",
        "positions",
        "published",
        "recent_terms",
        "reserved_e4",
        "reserved_upkeep_e4",
        "restricted",
        "secured_e4",
        "stp_group",
    )

    def __init__(self, account_id: str, cash_e4: int) -> None:
        self.account_id = account_id
        self.opening_cash_e4 = cash_e4
        self.cash_e4 = cash_e4
        self.reserved_e4: int = 0
        self.reserved_upkeep_e4: int = 0
        self.secured_e4: int = 0
        self.name: str = ""
        self.desk: str = ""
        self.active: bool = False
        self.max_order_quantity: int = 0
        self.max_order_notional_e4: int = 0
        self.max_position: int = 0
        self.max_daily_notional_e4: int = NO_LIMIT
        self.max_orders_per_second: int = NO_LIMIT
        self.max_open_orders: int = NO_LIMIT
        self.max_concentration: int = NO_LIMIT
        self.max_price_deviation: int = NO_LIMIT
        self.duplicate_window_ms: int = NO_LIMIT
        # The limits as reference data gave them last, so that only a change there overrides what a control has set.
        self.published: list[int] = []
        self.commission_e4: int = 0
        self.stp_group: str = ""
        self.mode: int = MODE_ACTIVE
        self.restricted: dict[str, bool] = {}
        self.locates: dict[str, int] = {}
        # Fails to deliver that are open, and the symbols of those that were not closed out in time (close_out.py).
        self.fails: int = 0
        self.close_outs: dict[str, bool] = {}
        self.guarded: bool = False
        # Set for a margin account.
        self.margin: MarginState | None = None
        # Open orders of a margin account, and what the groups of them reserve.
        self.orders: dict[str, OpenOrder] = {}
        self.groups: dict[str, GroupHold] = {}
        self.positions: dict[str, Position] = {}
        # Of a margin account that was valued; whoever changes the quantity of a position keeps it in step.
        self.cushion: Cushion | None = None
        self.open_orders: int = 0
        self.day_notional_e4: int = 0
        self.order_times: list[int] = []
        self.order_times_at: int = 0
        self.recent_terms: dict[str, int] = {}
        self.notices: int = 0

    def buying_power(self) -> int:
        """Cash of a cash account that nothing is promised to."""
        return self.cash_e4 - self.reserved_e4 - self.secured_e4

    def position(self, instrument: InstrumentState) -> Position:
        """The position in an instrument, made when there is none."""
        position = self.positions.get(instrument.symbol)
        if position is None:
            position = Position(instrument)
            self.positions[instrument.symbol] = position
        return position

    def move(self, position: Position, change: int) -> None:
        """Units come to one of its positions (negative: leave it)."""
        before = position.quantity
        position.quantity = before + change
        cushion = self.cushion
        if cushion is not None and cushion.stands:
            band = position.counted_band(cushion)
            if band is None:
                cushion.stands = False
            else:
                cushion.count(before, band, -1)
                cushion.count(before + change, band, 1)

    def refresh_guard(self) -> None:
        """Look again whether any of the optional checks applies."""
        margin = self.margin
        self.guarded = (
            self.mode != MODE_ACTIVE
            or len(self.restricted) > 0
            or self.max_daily_notional_e4 >= 0
            or self.max_orders_per_second >= 0
            or self.max_open_orders >= 0
            or self.max_concentration >= 0
            or self.max_price_deviation >= 0
            or self.duplicate_window_ms >= 0
            or (margin is not None and (margin.reduce_only or margin.frozen_until_ns > 0))
        )


class Terms:
    """What a replacement asks for, and what each of its shares reserves; it waits for the answer of matching."""

    __slots__ = ("price_e4", "stop_price_e4", "total", "unit_e4", "value_e4", "worst_e4")

    def __init__(
        self,
        total: int,
        price_e4: int,
        stop_price_e4: int,
        worst_e4: int,
        unit_e4: int,
        value_e4: int,
    ) -> None:
        self.total = total
        self.worst_e4 = worst_e4
        self.price_e4 = price_e4
        self.stop_price_e4 = stop_price_e4
        self.unit_e4 = unit_e4
        self.value_e4 = value_e4


class Awaited:
    """A corporate action that matching will answer for an order, in the session that opens and is entered at these times."""

    __slots__ = ("action", "entry_ns", "open_ns", "tick_e4")

    def __init__(self, action: Action, open_ns: int, entry_ns: int, tick_e4: int) -> None:
        self.action = action
        self.open_ns = open_ns
        self.entry_ns = entry_ns
        self.tick_e4 = tick_e4


class OpenOrder:
    """An approved order that has not ended.

    `remaining` shares are open, each reserving `unit_e4` of money (of a margin account only its costs: the rest is
    reserved by its group) and valued at `value_e4`; it never executes beyond `worst_e4`. `held_*` is what stands in the
    sums of its account and position for it. Prices of 0: none.
    """

    __slots__ = (
        "account",
        "awaited",
        "do_not_reduce",
        "entry",
        "filled",
        "held_e4",
        "held_shares",
        "held_value_e4",
        "is_buy",
        "key",
        "located",
        "order_id",
        "order_type",
        "pending",
        "placed_ns",
        "position",
        "price_e4",
        "remaining",
        "side",
        "stop_price_e4",
        "time_in_force",
        "total",
        "unit_e4",
        "value_e4",
        "worst_e4",
    )

    def __init__(
        self,
        key: str,
        order_id: str,
        account: AccountState,
        position: Position,
        side: int,
        order_type: int,
        time_in_force: int,
        total: int,
        price_e4: int,
        stop_price_e4: int,
        worst_e4: int,
        unit_e4: int,
        value_e4: int,
        entry: int,
    ) -> None:
        self.worst_e4 = worst_e4
        self.key = key
        self.order_id = order_id
        self.account = account
        self.position = position
        self.side = side
        self.is_buy: bool = side == SIDE_BUY
        self.order_type = order_type
        self.time_in_force = time_in_force
        self.total = total
        self.filled: int = 0
        self.remaining: int = total
        self.price_e4 = price_e4
        self.stop_price_e4 = stop_price_e4
        self.unit_e4 = unit_e4
        self.value_e4 = value_e4
        self.entry = entry
        self.located: int = 0
        self.held_shares: int = 0
        self.held_e4: int = 0
        self.held_value_e4: int = 0
        self.pending: list[Terms] | None = None
        # Its owner's time of it, and the corporate actions that matching has not answered yet.
        self.placed_ns: int = 0
        self.do_not_reduce: bool = False
        self.awaited: list[Awaited] | None = None


def written(position: Position) -> int:
    """Contracts of an option that are owed, or would be when all open orders to sell are filled.

    Nothing is sold of an option that has expired; its orders are only waiting for their end.
    """
    short = -position.quantity if position.instrument.expired else position.offered() - position.quantity
    return short if short > 0 else 0


def relock(account: AccountState, position: Position) -> None:
    """Bring what covers the written options of a cash account up to date: shares for calls, the strike for puts."""
    option = position.instrument
    if option.is_call:
        shares = 0
        for other in account.positions.values():
            instrument = other.instrument
            if instrument.is_option and instrument.is_call and instrument.underlying == option.underlying:
                shares += written(other) * instrument.multiplier
        underlying = account.positions.get(option.underlying)
        if underlying is not None:
            underlying.locked = shares
        return
    secured = 0
    for other in account.positions.values():
        if other.instrument.is_option and not other.instrument.is_call:
            secured += written(other) * other.instrument.multiplier * other.instrument.strike_e4
    account.secured_e4 = secured
