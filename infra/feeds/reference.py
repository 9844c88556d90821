"""Reference data of a simulated firm: instruments, accounts, sessions, as records of the reference-data topic.

Accounts are drawn from a seed; every third one is a margin account. Besides the ordinary ones there are some that exist to
be refused: one without money, one whose positions are full, one without shares and so on; so that an order over a limit
is refused for that reason and no other, whatever happens.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Final

from infra.feeds.items import Item
from infra.feeds.sessions import PRE_OPEN_NS, TradingDay
from schemas.messages import reference_data
from schemas.messages.enums import (
    ACCOUNT_TYPE_CASH,
    ACCOUNT_TYPE_MARGIN,
    ASSET_CLASS_STOCK,
    REFERENCE_KIND_ACCOUNT,
    REFERENCE_KIND_INSTRUMENT,
    REFERENCE_KIND_SESSION,
    REFERENCE_KIND_SNAPSHOT_END,
)
from schemas.messages.reference_data import Account, Instrument, OpeningPosition, Session

DOLLAR_E4: Final = 10_000
TICK_SIZE_E4: Final = 100
COMMISSION_E4: Final = 35
"""$0.0035 a share."""
MAX_ORDER_QUANTITY: Final = 10_000
MAX_ORDER_NOTIONAL_E4: Final = 20_000_000 * DOLLAR_E4
MAX_POSITION: Final = 50_000_000
LULD_TIER: Final = 1
POOR_ACCOUNT: Final = "ACC-POOR"
"""No money."""
FULL_ACCOUNT: Final = "ACC-FULL"
"""Its positions are at their limit."""
BARE_ACCOUNT: Final = "ACC-BARE"
"""A cash account with money and no shares."""
LONG_ACCOUNT: Final = "ACC-LONG"
"""A margin account that holds every symbol."""
SHORT_ACCOUNT: Final = "ACC-SHORT"
"""A margin account that holds nothing."""
LEAN_ACCOUNT: Final = "ACC-LEAN"
"""A margin account with little more than the minimum equity."""
NEAR_ACCOUNT: Final = "ACC-NEAR"
"""Its prices may not be far from the market's."""
SMALL_ACCOUNT: Final = "ACC-SMALL"
"""It may trade for a dollar a day."""
LISTED_ACCOUNT: Final = "ACC-LISTED"
"""It may not trade the first symbol: a control puts it on its restricted list."""
_LEAN_CASH_E4: Final = 5_000 * DOLLAR_E4
_NEAR_BASIS_POINTS: Final = 1_000
_FULL_POSITION: Final = 100_000
_HELD_SYMBOLS: Final = 12
_DESKS: Final = ("retail", "wealth", "agency", "index", "macro")
_GROUPED_DESKS: Final = frozenset({"index", "macro"})
"""Accounts of these desks do not trade with each other when they ask for self-trade prevention."""
_SECTORS: Final = ("technology", "energy", "finance", "health", "industry")


def is_margin(holder: Account) -> bool:
    """Whether an account may borrow money and shares."""
    return holder.account_type == ACCOUNT_TYPE_MARGIN


def hard_to_borrow(symbols: Sequence[str]) -> list[str]:
    """The symbols that are not on the easy-to-borrow list: a short sale needs shares that were located for it."""
    return list(symbols[3::5])


def ordinary_accounts(seed: int, count: int, symbols: Sequence[str], orders: int) -> list[Account]:
    """`count` accounts that can afford their share of `orders` orders many times over: ACC-0001 and so on.

    A margin account holds at most half of the symbols, so that it has others to sell short.
    """
    rng = random.Random(f"accounts-{seed}")
    each = orders // count + 1
    accounts = []
    for number in range(1, count + 1):
        margin = number % 3 == 0
        most = min(_HELD_SYMBOLS, len(symbols)) if not margin else min(_HELD_SYMBOLS, len(symbols)) // 2
        held = rng.sample(list(symbols), most)
        positions = [OpeningPosition(symbol, 100 * rng.randint(50, 200) + 200 * each) for symbol in held]
        cash = (rng.randint(2, 20) * 1_000_000 + 500_000 * each) * DOLLAR_E4
        desk = rng.choice(_DESKS)
        accounts.append(
            account(
                f"ACC-{number:04d}",
                cash,
                positions,
                desk=desk,
                margin=margin,
                stp_group=desk.upper() if desk in _GROUPED_DESKS else None,
            )
        )
    return accounts


def limit_accounts(symbols: Iterable[str]) -> list[Account]:
    """The accounts that are always refused."""
    positions = [OpeningPosition(symbol, _FULL_POSITION) for symbol in symbols]
    rich = 10_000_000 * DOLLAR_E4
    near = account(NEAR_ACCOUNT, rich, [], desk="limits")
    near.max_price_deviation = _NEAR_BASIS_POINTS
    small = account(SMALL_ACCOUNT, rich, [], desk="limits")
    small.max_daily_notional = DOLLAR_E4
    return [
        account(POOR_ACCOUNT, 0, [], desk="limits"),
        account(FULL_ACCOUNT, rich, positions, max_position=_FULL_POSITION, desk="limits"),
        account(BARE_ACCOUNT, rich, [], desk="limits"),
        account(LONG_ACCOUNT, rich, positions, desk="limits", margin=True),
        account(SHORT_ACCOUNT, rich, [], desk="limits", margin=True),
        account(LEAN_ACCOUNT, _LEAN_CASH_E4, [], desk="limits", margin=True),
        near,
        small,
        account(LISTED_ACCOUNT, rich, [], desk="limits"),
    ]


def account(
    account_id: str,
    cash: int,
    positions: list[OpeningPosition],
    max_position: int = MAX_POSITION,
    desk: str = "retail",
    margin: bool = False,
    stp_group: str | None = None,
) -> Account:
    """An account with the usual limits; cash in e4."""
    return Account(
        account_id=account_id,
        name=f"Account {account_id}",
        desk=desk,
        cash=cash,
        positions=positions,
        max_order_quantity=MAX_ORDER_QUANTITY,
        max_order_notional=MAX_ORDER_NOTIONAL_E4,
        max_position=max_position,
        commission_per_share=COMMISSION_E4,
        active=True,
        account_type=ACCOUNT_TYPE_MARGIN if margin else ACCOUNT_TYPE_CASH,
        stp_group=stp_group,
    )


def reference_items(
    days: Sequence[TradingDay],
    prior_closes: Mapping[str, int],
    accounts: Iterable[Account],
    schema_ids: Mapping[str, int],
) -> Iterator[Item]:
    """One record for each instrument, account and session, then the end of the snapshot; dated before the first pre-open.

    `prior_closes`: price e4 by symbol.
    """
    schema_id = schema_ids["reference-data"]
    time_ns = days[0].midnight_ns
    hard = frozenset(hard_to_borrow(list(prior_closes)))

    def item(
        kind: int,
        key: str,
        instrument: Instrument | None = None,
        holder: Account | None = None,
        session: Session | None = None,
    ) -> Item:
        value = reference_data.encode_fields(
            schema_id, kind, key, instrument, holder, session, days[0].midnight_ns, time_ns
        )
        return "reference-data", key.encode(), value, time_ns

    for number, (symbol, prior_close) in enumerate(prior_closes.items()):
        instrument = Instrument(
            symbol=symbol,
            name=f"{symbol} common stock",
            asset_class=ASSET_CLASS_STOCK,
            currency="USD",
            primary_exchange="XNYS",
            tick_size=TICK_SIZE_E4,
            round_lot=100,
            prior_close=prior_close,
            active=True,
            sector=_SECTORS[number % len(_SECTORS)],
            luld_tier=LULD_TIER,
            easy_to_borrow=symbol not in hard,
        )
        yield item(REFERENCE_KIND_INSTRUMENT, f"instrument:{symbol}", instrument=instrument)
    for holder in accounts:
        yield item(REFERENCE_KIND_ACCOUNT, f"account:{holder.account_id}", holder=holder)
    for day in days:
        session = Session(str(day.day), day.open_ns, day.close_ns, day.half_day, day.midnight_ns + PRE_OPEN_NS)
        yield item(REFERENCE_KIND_SESSION, f"session:{day.day}", session=session)
    yield item(REFERENCE_KIND_SNAPSHOT_END, "snapshot-end")
