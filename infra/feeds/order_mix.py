"""What the simulated clients order: kinds in seeded shares, at prices near the market, within what their accounts can carry.

Every order is good for certain: what an account has promised to pay, deliver or borrow is added up (`Purse`) and never
exceeds what it opened with, so that no limit is reached by accident. What is cancelled or unfilled is not given back.

A margin account trades the symbols that it holds like a cash account, and sells others short; once it has bought one of
those back it leaves it alone, because nobody here knows what was filled, and so whether the next sale were long or short.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from typing import Final

from infra.feeds.reference import COMMISSION_E4, TICK_SIZE_E4, hard_to_borrow, is_margin
from infra.feeds.sessions import NS_PER_SECOND, TradingDay
from schemas.messages.enums import (
    COMMAND_TYPE_NEW,
    COMMAND_TYPE_REPLACE,
    ORDER_TYPE_LIMIT,
    ORDER_TYPE_MARKET,
    ORDER_TYPE_STOP,
    ORDER_TYPE_STOP_LIMIT,
    SIDE_BUY,
    SIDE_SELL,
    SIDE_SELL_SHORT,
    STP_MODE_DECREMENT,
    STP_MODE_EXPIRE_BOTH,
    STP_MODE_EXPIRE_MAKER,
    STP_MODE_EXPIRE_TAKER,
    STP_MODE_NONE,
    TIME_IN_FORCE_CLS,
    TIME_IN_FORCE_DAY,
    TIME_IN_FORCE_FOK,
    TIME_IN_FORCE_GTC,
    TIME_IN_FORCE_IOC,
    TIME_IN_FORCE_OPG,
)
from schemas.messages.orders import OrderCommand
from schemas.messages.reference_data import Account

Kind = tuple[int, int]
"""Order type and time in force."""

DAY_KINDS: Final[Mapping[Kind, int]] = {
    (ORDER_TYPE_LIMIT, TIME_IN_FORCE_DAY): 38,
    (ORDER_TYPE_LIMIT, TIME_IN_FORCE_IOC): 11,
    (ORDER_TYPE_LIMIT, TIME_IN_FORCE_FOK): 6,
    (ORDER_TYPE_LIMIT, TIME_IN_FORCE_GTC): 8,
    (ORDER_TYPE_MARKET, TIME_IN_FORCE_DAY): 7,
    (ORDER_TYPE_MARKET, TIME_IN_FORCE_IOC): 4,
    (ORDER_TYPE_STOP, TIME_IN_FORCE_DAY): 7,
    (ORDER_TYPE_STOP, TIME_IN_FORCE_GTC): 2,
    (ORDER_TYPE_STOP_LIMIT, TIME_IN_FORCE_DAY): 6,
    (ORDER_TYPE_STOP_LIMIT, TIME_IN_FORCE_GTC): 2,
    (ORDER_TYPE_LIMIT, TIME_IN_FORCE_CLS): 6,
    (ORDER_TYPE_MARKET, TIME_IN_FORCE_CLS): 3,
}
"""Shares of the orders of continuous trading, in percent."""
EARLY_KINDS: Final[Mapping[Kind, int]] = {
    (ORDER_TYPE_LIMIT, TIME_IN_FORCE_OPG): 30,
    (ORDER_TYPE_MARKET, TIME_IN_FORCE_OPG): 20,
    (ORDER_TYPE_LIMIT, TIME_IN_FORCE_DAY): 22,
    (ORDER_TYPE_LIMIT, TIME_IN_FORCE_GTC): 6,
    (ORDER_TYPE_MARKET, TIME_IN_FORCE_DAY): 4,
    (ORDER_TYPE_STOP, TIME_IN_FORCE_DAY): 4,
    (ORDER_TYPE_LIMIT, TIME_IN_FORCE_CLS): 9,
    (ORDER_TYPE_MARKET, TIME_IN_FORCE_CLS): 5,
}
"""Shares of the orders before the opening."""
PLAIN_KINDS: Final[Mapping[Kind, int]] = {(ORDER_TYPE_LIMIT, TIME_IN_FORCE_DAY): 1}
"""Orders without anything special, to make bad ones from."""

MARKET_ORDERS_FROM_NS: Final = 600 * NS_PER_SECOND
"""Market orders begin this long after the open, when every symbol has a price."""
CLOSE_ORDERS_UNTIL: Final = 0.6
"""On-close orders end at this share of the session, long before their cut-off: orders may wait in Kafka."""
COVERS_FROM: Final = 0.5
LOCATED_SHARES: Final = 20_000
"""Shares that each margin account has located for short sales in one symbol that is hard to borrow."""

_STP_SHARE: Final = 0.25
_STP_MODES: Final = (STP_MODE_EXPIRE_TAKER, STP_MODE_EXPIRE_MAKER, STP_MODE_EXPIRE_BOTH, STP_MODE_DECREMENT)
_ODD_SHARE: Final = 0.12
_SHORT_SHARE: Final = 0.6
_COVER_SHARE: Final = 0.3
_REACH_SHARE: Final = 0.4
_DRAWS: Final = 200
_RESTS: Final = frozenset({TIME_IN_FORCE_DAY, TIME_IN_FORCE_GTC})


class OutOfMeans(ValueError):
    """No account can carry another order; the message says what to give more of."""


class LiveOrder:
    """An order that may still rest or wait, as it was ordered last, and the most that any of its terms may cost."""

    __slots__ = ("most_price", "most_quantity", "order")

    def __init__(self, order: OrderCommand, price: int) -> None:
        self.order = order
        self.most_quantity = order.quantity
        self.most_price = price


class Purse:
    """What the accounts may still promise: money, shares to sell, and shares to borrow where these must be located."""

    def __init__(self, accounts: Sequence[Account], symbols: Sequence[str]) -> None:
        hard = hard_to_borrow(symbols)
        self.cash = {holder.account_id: holder.cash for holder in accounts}
        self.shares = {
            (holder.account_id, opening.symbol): opening.quantity for holder in accounts for opening in holder.positions
        }
        self.borrowable: dict[str, list[str]] = {}
        """Symbols that each margin account sells short."""
        self.locates: dict[tuple[str, str], int] = {}
        """Shares that are to be located for them, by account and symbol; those of the others need no locate."""
        for number, holder in enumerate(accounts):
            if is_margin(holder):
                held = {opening.symbol for opening in holder.positions}
                found = [symbol for symbol in symbols if symbol not in held and symbol not in hard]
                scarce = [symbol for symbol in hard if symbol not in held]
                if scarce:
                    symbol = scarce[number % len(scarce)]
                    found.append(symbol)
                    self.locates[holder.account_id, symbol] = LOCATED_SHARES
                self.borrowable[holder.account_id] = found
        self.located = dict(self.locates)

    def can(self, account_id: str, symbol: str, side: int, quantity: int, price: int) -> bool:
        """Whether an account can carry so many more shares; `price`: the worst that one of them may cost."""
        if side == SIDE_SELL:
            return quantity <= self.shares.get((account_id, symbol), 0)
        if side == SIDE_SELL_SHORT and quantity > self.located.get((account_id, symbol), quantity):
            return False
        return quantity * (price + COMMISSION_E4) <= self.cash[account_id]

    def spend(self, account_id: str, symbol: str, side: int, quantity: int, money_e4: int) -> None:
        """Set shares and money aside, for good."""
        if side == SIDE_SELL:
            self.shares[account_id, symbol] -= quantity
            return
        self.cash[account_id] -= money_e4
        if (account_id, symbol) in self.located:
            self.located[account_id, symbol] -= quantity


class OrderMix:
    """Draws orders and replacements. `bids` and `asks`: prices e4 by symbol as they are now, kept by the caller."""

    def __init__(
        self,
        rng: random.Random,
        accounts: Sequence[Account],
        bids: Mapping[str, int],
        asks: Mapping[str, int],
        prefix: str,
    ) -> None:
        self.symbols = list(bids)
        self.purse = Purse(accounts, self.symbols)
        self._rng = rng
        self._accounts = list(accounts)
        self._bids = bids
        self._asks = asks
        self._prefix = prefix
        self._number = 0
        self._hard = frozenset(hard_to_borrow(self.symbols))
        self._shorted: dict[str, list[str]] = {}

    def draw(
        self,
        time_ns: int,
        kinds: Mapping[Kind, int],
        day: TradingDay | None = None,
        account: Account | None = None,
        symbol: str | None = None,
    ) -> OrderCommand:
        """An order that its account can carry; nothing is set aside yet, see `spend`.

        day: the session that is open, None outside. account, symbol: whose and in what, if not anybody's in anything.
        Raises OutOfMeans.
        """
        rng = self._rng
        for _ in range(_DRAWS):
            holder = account or rng.choice(self._accounts)
            order = self._order(time_ns, self._kind(kinds, time_ns, day), holder, day, symbol)
            if order is not None and symbol in (None, order.symbol) and self._carries(order):
                self._number += 1
                return order
        raise OutOfMeans(f"{len(self._accounts)} accounts cannot carry the orders: give more accounts")

    def spend(self, order: OrderCommand) -> LiveOrder:
        """Set aside what an order that is sent may cost."""
        live = LiveOrder(order, self._worst_price(order))
        money = order.quantity * (live.most_price + COMMISSION_E4)
        self.purse.spend(order.account_id, order.symbol, order.side, order.quantity, money)
        borrowed = self._shorted.setdefault(order.account_id, [])
        if order.side == SIDE_SELL_SHORT and order.symbol not in borrowed:
            borrowed.append(order.symbol)
        elif order.side == SIDE_BUY and order.symbol in borrowed:
            self.purse.borrowable[order.account_id].remove(order.symbol)
            borrowed.remove(order.symbol)
        return live

    @staticmethod
    def may_live(order: OrderCommand) -> bool:
        """Whether an order can rest or wait, so that cancelling and replacing it makes sense."""
        return order.order_type != ORDER_TYPE_MARKET and order.time_in_force in _RESTS

    def waits(self, order: OrderCommand) -> bool:
        """Whether the market has to come to an order before it trades."""
        if order.order_type != ORDER_TYPE_LIMIT or order.price is None:
            return True
        if order.side == SIDE_BUY:
            return order.price < self._asks[order.symbol]
        return order.price > self._bids[order.symbol]

    @staticmethod
    def outlives_the_day(order: OrderCommand) -> bool:
        """Whether an order is good till cancelled."""
        return order.time_in_force == TIME_IN_FORCE_GTC

    def replacement(self, live: LiveOrder, time_ns: int) -> OrderCommand:
        """New terms for an order, set aside at once: smaller, larger or at another price, as far as the account can."""
        rng = self._rng
        old = live.order
        quantity, price, stop_price = old.quantity, old.price, old.stop_price
        draw = rng.random()
        if draw < 0.4 or draw >= 0.9:
            quantity = max(1, quantity // rng.choice((2, 2, 3, 4)))
        elif draw < 0.6:
            quantity += 100 * rng.randint(1, 3)
        if draw >= 0.6:
            price, stop_price = self._prices(old.order_type, old.symbol, old.side == SIDE_BUY)
        order = self._command(COMMAND_TYPE_REPLACE, old, quantity, price, stop_price, time_ns)
        if not self._extend(live, order):
            order = self._command(
                COMMAND_TYPE_REPLACE, old, max(1, old.quantity // 2), old.price, old.stop_price, time_ns
            )
        live.order = order
        return order

    def _extend(self, live: LiveOrder, order: OrderCommand) -> bool:
        """Set aside what new terms may cost beyond the most that the order could cost until now."""
        quantity = max(live.most_quantity, order.quantity)
        price = max(live.most_price, self._worst_price(order))
        more = quantity - live.most_quantity
        money = quantity * (price + COMMISSION_E4) - live.most_quantity * (live.most_price + COMMISSION_E4)
        purse = self.purse
        if order.side == SIDE_SELL:
            enough = more <= purse.shares[order.account_id, order.symbol]
        else:
            enough = money <= purse.cash[order.account_id]
            enough = enough and more <= purse.located.get((order.account_id, order.symbol), more)
        if enough:
            purse.spend(order.account_id, order.symbol, order.side, more, money)
            live.most_quantity, live.most_price = quantity, price
        return enough

    def _kind(self, kinds: Mapping[Kind, int], time_ns: int, day: TradingDay | None) -> Kind:
        """A kind by its share; a plain one where the drawn one would come at the wrong time."""
        (kind,) = self._rng.choices(list(kinds), list(kinds.values()))
        if day is not None:
            done = (time_ns - day.open_ns) / (day.close_ns - day.open_ns)
            too_early = kind[0] == ORDER_TYPE_MARKET and time_ns < day.open_ns + MARKET_ORDERS_FROM_NS
            too_late = kind[1] == TIME_IN_FORCE_CLS and done > CLOSE_ORDERS_UNTIL
            if too_early or too_late:
                return ORDER_TYPE_LIMIT, TIME_IN_FORCE_DAY
        return kind

    def _order(
        self, time_ns: int, kind: Kind, holder: Account, day: TradingDay | None, wanted: str | None
    ) -> OrderCommand | None:
        """An order of an account, in a wanted symbol where it is free to choose; None when it has nothing to sell."""
        rng = self._rng
        order_type, time_in_force = kind
        side = SIDE_BUY if rng.random() < 0.5 else SIDE_SELL
        symbol = wanted if wanted and not is_margin(holder) else self._symbol_to_buy(holder, time_ns, day)
        if side == SIDE_SELL:
            borrowable = self.purse.borrowable.get(holder.account_id, [])
            if borrowable and (not holder.positions or rng.random() < _SHORT_SHARE):
                side, symbol = SIDE_SELL_SHORT, rng.choice(borrowable)
            elif holder.positions:
                symbol = rng.choice(holder.positions).symbol
            else:
                return None
        if symbol is None:
            return None
        price, stop_price = self._prices(order_type, symbol, side == SIDE_BUY)
        located = side == SIDE_SELL_SHORT and symbol in self._hard
        return OrderCommand(
            command=COMMAND_TYPE_NEW,
            order_id=f"{self._prefix}-{self._number + 1:07d}",
            account_id=holder.account_id,
            symbol=symbol,
            side=side,
            order_type=order_type,
            time_in_force=time_in_force,
            quantity=rng.randint(1, 99) if rng.random() < _ODD_SHARE else 100 * rng.randint(1, 10),
            price=price,
            stop_price=stop_price,
            stp=rng.choice(_STP_MODES) if rng.random() < _STP_SHARE else STP_MODE_NONE,
            client_id=holder.desk if rng.random() < 0.2 else None,
            timestamp=time_ns,
            locate_id=f"LOC-{holder.account_id}-{symbol}" if located else None,
        )

    def _symbol_to_buy(self, holder: Account, time_ns: int, day: TradingDay | None) -> str | None:
        """A cash account buys anything; a margin account what it holds, and later in the day what it has sold short."""
        rng = self._rng
        if not is_margin(holder):
            return rng.choice(self.symbols)
        shorted = self._shorted.get(holder.account_id)
        late = day is not None and time_ns - day.open_ns > COVERS_FROM * (day.close_ns - day.open_ns)
        if shorted and late and rng.random() < _COVER_SHARE:
            return rng.choice(shorted)
        return rng.choice(holder.positions).symbol if holder.positions else None

    def _prices(self, order_type: int, symbol: str, is_buy: bool) -> tuple[int | None, int | None]:
        """Limit and stop price of an order, where its type has them."""
        rng = self._rng
        if order_type == ORDER_TYPE_MARKET:
            return None, None
        if order_type == ORDER_TYPE_LIMIT:
            return self._limit_price(symbol, is_buy), None
        away = TICK_SIZE_E4 * rng.randint(1, 10)
        stop = self._on_tick(self._asks[symbol] + away if is_buy else self._bids[symbol] - away)
        if order_type == ORDER_TYPE_STOP:
            return None, stop
        beyond = TICK_SIZE_E4 * rng.randint(0, 5)
        return self._on_tick(stop + beyond if is_buy else stop - beyond), stop

    def _limit_price(self, symbol: str, is_buy: bool) -> int:
        """Four in ten reach through the other side's price, the rest wait at or behind their own."""
        rng = self._rng
        bid, ask = self._bids[symbol], self._asks[symbol]
        if rng.random() < _REACH_SHARE:
            price = ask + TICK_SIZE_E4 * rng.randint(0, 10) if is_buy else bid - TICK_SIZE_E4 * rng.randint(0, 10)
        else:
            behind = TICK_SIZE_E4 * rng.choice((-1, 0, 0, 1, 2, 4, 8, 16))
            price = bid - behind if is_buy else ask + behind
        return self._on_tick(price)

    @staticmethod
    def _on_tick(price: int) -> int:
        return max(TICK_SIZE_E4, price // TICK_SIZE_E4 * TICK_SIZE_E4)

    def _carries(self, order: OrderCommand) -> bool:
        return self.purse.can(order.account_id, order.symbol, order.side, order.quantity, self._worst_price(order))

    def _worst_price(self, order: OrderCommand) -> int:
        """The most that a share may cost, in money or in margin.

        Without a limit it may be collared 10% from its reference, which may have moved meanwhile; a share sold short is
        margined at the price that it has by then.
        """
        if order.side == SIDE_BUY and order.price is not None:
            return order.price
        return max(order.price or 0, order.stop_price or 0, self._asks[order.symbol]) * 5 // 4

    @staticmethod
    def _command(
        command: int, old: OrderCommand, quantity: int, price: int | None, stop_price: int | None, time_ns: int
    ) -> OrderCommand:
        """The order with new terms."""
        return OrderCommand(
            command=command,
            order_id=old.order_id,
            account_id=old.account_id,
            symbol=old.symbol,
            side=old.side,
            order_type=old.order_type,
            time_in_force=old.time_in_force,
            quantity=quantity,
            price=price,
            stop_price=stop_price,
            stp=old.stp,
            client_id=old.client_id,
            timestamp=time_ns,
            locate_id=old.locate_id,
        )
