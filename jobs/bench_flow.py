"""The commands that `tradestream bench engine` runs, made before the clock starts.

A mixed flow over many symbols whose middle prices walk: mostly orders that rest and are cancelled again, some that
trade. Every cancel and replacement names an order that lives when its turn comes, which is found out by running the
engine alongside. The same seed gives the same commands; they are also given as rows of text and as frames.
"""

from __future__ import annotations

import random
from collections.abc import Iterable
from typing import Final, NamedTuple

from schemas.messages.enums import (
    COMMAND_TYPE_CANCEL,
    COMMAND_TYPE_NEW,
    COMMAND_TYPE_REPLACE,
    ORDER_TYPE_LIMIT,
    ORDER_TYPE_MARKET,
    ORDER_TYPE_NAMES,
    ORDER_TYPE_STOP,
    ORDER_TYPE_STOP_LIMIT,
    SIDE_BUY,
    SIDE_NAMES,
    SIDE_SELL,
    STP_MODE_NONE,
    TIME_IN_FORCE_DAY,
    TIME_IN_FORCE_FOK,
    TIME_IN_FORCE_GTC,
    TIME_IN_FORCE_IOC,
    TIME_IN_FORCE_NAMES,
)
from schemas.messages.orders import OrderCommand
from udfs.domain.book import RESTING, Order
from udfs.domain.filling import NEVER
from udfs.domain.frames import encode_frame
from udfs.domain.market import NO_PRICE
from udfs.domain.match_csv import price_text
from udfs.domain.matching import Matcher
from udfs.domain.recent import RecentEnds
from udfs.domain.reporter import Reporter

SHARES: Final[dict[str, int]] = {
    "limit": 43,
    "limit that crosses": 3,
    "IOC": 4,
    "FOK": 1,
    "market": 3,
    "stop": 2,
    "stop-limit": 2,
    "cancel": 34,
    "replace, smaller": 4,
    "replace, new price": 4,
}
"""Kinds of commands in percent."""
SYMBOLS: Final = 100
RESTING_ORDERS: Final = 20_000
"""Orders that rest before the clock starts."""
MID_E4: Final = 1_000_000
TICK_E4: Final = 100
_WALK: Final = 300
"""Middle prices stay within so many ticks of where they begin."""
_ACCOUNTS: Final = 200
_START_NS: Final = 1_790_000_000_000_000_000
_STEP_NS: Final = 10_000


class Command(NamedTuple):
    """A command for the engine; prices in 1/10,000 of the currency, None where they do not apply."""

    kind: int
    order_id: str
    account_id: str
    symbol: str
    is_buy: bool
    order_type: int
    time_in_force: int
    quantity: int
    price: int | None
    worst_price: int
    stop_price: int | None


class Flow(NamedTuple):
    """`preload` fills the books, `commands` are measured; `shares` counts the kinds among the latter."""

    preload: list[Command]
    commands: list[Command]
    shares: dict[str, int]


def apply_command(matcher: Matcher, command: Command) -> None:
    """Run one command through an engine."""
    kind, order_id, account_id, symbol, is_buy, order_type, tif, quantity, price, worst, stop_price = command
    if kind == COMMAND_TYPE_NEW:
        side = SIDE_BUY if is_buy else SIDE_SELL
        matcher.place(
            Order(
                order_id,
                "",
                order_id,
                account_id,
                symbol,
                side,
                is_buy,
                order_type,
                tif,
                quantity,
                price,
                worst,
                0,
                0,
                NEVER,
                stop_price,
            ),
            0,
            0,
        )
    elif kind == COMMAND_TYPE_CANCEL:
        matcher.cancel(order_id)
    else:
        matcher.replace(order_id, quantity, price, None, worst)


class _Maker:
    """Draws commands, and knows from an engine which orders live."""

    def __init__(self, seed: int, symbols: int) -> None:
        self.random = random.Random(f"bench engine {seed}")
        self.matcher = Matcher(Reporter(), RecentEnds(0), collared=False)
        self.symbols = [f"S{number:04d}" for number in range(symbols)]
        self.accounts = [f"ACC-{number:04d}" for number in range(_ACCOUNTS)]
        self.middle = [MID_E4] * symbols
        self.targets: list[str] = []
        self.made = 0

    def run(self, command: Command) -> Command:
        """Apply a command, so that the next ones know what lives."""
        apply_command(self.matcher, command)
        if command.kind == COMMAND_TYPE_NEW and command.order_id in self.matcher.live:
            self.targets.append(command.order_id)
        return command

    def new(self, kind: str) -> Command:
        """A new order of a kind of SHARES."""
        draw = self.random.random
        self.made += 1
        number = int(draw() * len(self.symbols))
        middle = self.middle[number]
        if draw() < 0.1:
            step = TICK_E4 if draw() < 0.5 else -TICK_E4
            if abs(middle + step - MID_E4) <= _WALK * TICK_E4:
                middle += step
                self.middle[number] = middle
        is_buy = draw() < 0.5
        # Away from the middle on the order's own side; most orders lie near it, a few deep in the book.
        away = 1 + int(40 * draw() * draw())
        tif = TIME_IN_FORCE_DAY if draw() < 0.8 else TIME_IN_FORCE_GTC
        order_type = ORDER_TYPE_LIMIT
        stop_price: int | None = None
        if kind in ("IOC", "FOK", "limit that crosses"):
            away = -away // 4
            tif = {"IOC": TIME_IN_FORCE_IOC, "FOK": TIME_IN_FORCE_FOK}.get(kind, tif)
        elif kind == "market":
            order_type = ORDER_TYPE_MARKET
        elif kind.startswith("stop"):
            order_type = ORDER_TYPE_STOP if kind == "stop" else ORDER_TYPE_STOP_LIMIT
            stop_price = middle + (away + 5) * (TICK_E4 if is_buy else -TICK_E4)
            away = -away - 10
        price: int | None = middle - away * (TICK_E4 if is_buy else -TICK_E4)
        worst = price if price is not None else 0
        if order_type in (ORDER_TYPE_MARKET, ORDER_TYPE_STOP):
            price = None
            worst = NO_PRICE if is_buy else 1
        quantity = (100, 100, 100, 200, 300, 500, 10, 1)[int(draw() * 8)]
        account_id = self.accounts[int(draw() * _ACCOUNTS)]
        order_id = f"ORD-{self.made:08d}"
        symbol = self.symbols[number]
        return Command(
            COMMAND_TYPE_NEW,
            order_id,
            account_id,
            symbol,
            is_buy,
            order_type,
            tif,
            quantity,
            price,
            worst,
            stop_price,
        )

    def target(self, resting: bool, remove: bool) -> Order | None:
        """An order that lives now, drawn evenly; None when there is none."""
        targets = self.targets
        live = self.matcher.live
        while targets:
            index = int(self.random.random() * len(targets))
            order = live.get(targets[index])
            if order is not None and not (resting and order.place != RESTING):
                if remove:
                    targets[index] = targets[-1]
                    targets.pop()
                return order
            if order is None:
                targets[index] = targets[-1]
                targets.pop()
        return None

    def change(self, kind: str) -> Command | None:
        """A cancel or replacement of an order that lives."""
        order = self.target(resting=kind != "cancel", remove=kind == "cancel")
        if order is None:
            return None
        quantity, price = order.quantity, order.limit_price
        if kind == "cancel":
            action = COMMAND_TYPE_CANCEL
        else:
            action = COMMAND_TYPE_REPLACE
            if kind == "replace, smaller":
                quantity = max(quantity - 1, order.cum_quantity + 1)
            elif price is not None:
                price += (1 + int(3 * self.random.random())) * (-TICK_E4 if order.is_buy else TICK_E4)
        return Command(
            action,
            order.order_id,
            order.account_id,
            order.symbol,
            order.is_buy,
            order.order_type,
            order.time_in_force,
            quantity,
            price,
            order.worst_price if price is None else price,
            order.stop_price,
        )


def mixed_flow(count: int, seed: int, symbols: int = SYMBOLS, resting: int = RESTING_ORDERS) -> Flow:
    """`count` commands in the shares of SHARES after `resting` orders that fill the books."""
    maker = _Maker(seed, symbols)
    preload = [maker.run(maker.new("limit")) for _ in range(resting)]
    shares = dict.fromkeys(SHARES, 0)
    commands: list[Command] = []
    for kind in maker.random.choices(list(SHARES), list(SHARES.values()), k=count):
        command = maker.change(kind) if kind.startswith(("cancel", "replace")) else None
        if command is None:
            kind = kind if not kind.startswith(("cancel", "replace")) else "limit"
            command = maker.new(kind)
        shares[kind] += 1
        commands.append(maker.run(command))
    return Flow(preload, commands, shares)


def rows(commands: Iterable[Command], first: int = 1) -> list[list[str]]:
    """The commands as rows of `tradestream match`."""
    names = {COMMAND_TYPE_NEW: "NEW", COMMAND_TYPE_CANCEL: "CANCEL", COMMAND_TYPE_REPLACE: "REPLACE"}
    result: list[list[str]] = []
    for number, command in enumerate(commands, first):
        is_new = command.kind == COMMAND_TYPE_NEW
        is_cancel = command.kind == COMMAND_TYPE_CANCEL
        result.append(
            [
                str(number),
                str(_START_NS + number * _STEP_NS),
                names[command.kind],
                command.order_id,
                command.account_id,
                command.symbol,
                "" if is_cancel else SIDE_NAMES[SIDE_BUY if command.is_buy else SIDE_SELL],
                ORDER_TYPE_NAMES[command.order_type] if is_new else "",
                TIME_IN_FORCE_NAMES[command.time_in_force] if is_new else "",
                "" if is_cancel else str(command.quantity),
                "" if is_cancel or command.price is None else price_text(command.price),
                price_text(command.stop_price) if is_new and command.stop_price is not None else "",
                "",
            ]
        )
    return result


def frames(commands: Iterable[Command], first: int, close_ns: int) -> list[bytes]:
    """The commands as the frames that the risk stage sends to the match stage."""
    result: list[bytes] = []
    for number, command in enumerate(commands, first):
        order = OrderCommand(
            command=command.kind,
            order_id=command.order_id,
            account_id=command.account_id,
            symbol=command.symbol,
            side=SIDE_BUY if command.is_buy else SIDE_SELL,
            order_type=command.order_type,
            time_in_force=command.time_in_force,
            quantity=command.quantity,
            price=command.price,
            stop_price=command.stop_price,
            stp=STP_MODE_NONE,
            client_id=None,
            timestamp=_START_NS + number * _STEP_NS,
        )
        # What risk adds does not matter here: any commission, no reservation, the session's end; sales pay fees, as stocks do.
        frame = encode_frame(order, 0, 0, number, command.worst_price, 35, close_ns, 0, pays_fees=not command.is_buy)
        result.append(frame)
    return result
