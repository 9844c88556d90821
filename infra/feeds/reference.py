"""Reference data of a simulated firm: instruments, accounts, sessions, as records of the reference-data topic.

Accounts are drawn from a seed. Besides the ordinary ones there are three that exist to be refused: one without
money, one whose positions are full, one without shares; so that an order over a limit is refused for that reason
and no other, whatever happens.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Final

from infra.feeds.items import Item
from infra.feeds.sessions import TradingDay
from schemas.messages import reference_data
from schemas.messages.enums import (
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
POOR_ACCOUNT: Final = "ACC-POOR"
FULL_ACCOUNT: Final = "ACC-FULL"
BARE_ACCOUNT: Final = "ACC-BARE"
_FULL_POSITION: Final = 100_000
_HELD_SYMBOLS: Final = 12
_DESKS: Final = ("retail", "wealth", "agency", "index", "macro")


def ordinary_accounts(seed: int, count: int, symbols: Sequence[str], orders: int) -> list[Account]:
    """`count` accounts that can afford their share of `orders` orders many times over: ACC-0001 and so on."""
    rng = random.Random(f"accounts-{seed}")
    each = orders // count + 1
    accounts = []
    for number in range(1, count + 1):
        held = rng.sample(list(symbols), min(_HELD_SYMBOLS, len(symbols)))
        positions = [OpeningPosition(symbol, 100 * rng.randint(50, 200) + 200 * each) for symbol in held]
        cash = (rng.randint(2, 20) * 1_000_000 + 500_000 * each) * DOLLAR_E4
        accounts.append(account(f"ACC-{number:04d}", cash, positions, desk=rng.choice(_DESKS)))
    return accounts


def limit_accounts(symbols: Iterable[str]) -> list[Account]:
    """The three accounts that are always refused."""
    positions = [OpeningPosition(symbol, _FULL_POSITION) for symbol in symbols]
    rich = 10_000_000 * DOLLAR_E4
    return [
        account(POOR_ACCOUNT, 0, [], desk="limits"),
        account(FULL_ACCOUNT, rich, positions, max_position=_FULL_POSITION, desk="limits"),
        account(BARE_ACCOUNT, rich, [], desk="limits"),
    ]


def account(
    account_id: str, cash: int, positions: list[OpeningPosition], max_position: int = MAX_POSITION, desk: str = "retail"
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
    )


def reference_items(
    days: Sequence[TradingDay],
    prior_closes: Mapping[str, int],
    accounts: Iterable[Account],
    schema_ids: Mapping[str, int],
) -> Iterator[Item]:
    """One record for each instrument, account and session, then the end of the snapshot; dated an hour before the open.

    `prior_closes`: price e4 by symbol.
    """
    schema_id = schema_ids["reference-data"]
    time_ns = days[0].open_ns - 3_600 * 1_000_000_000

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

    for symbol, prior_close in prior_closes.items():
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
        )
        yield item(REFERENCE_KIND_INSTRUMENT, f"instrument:{symbol}", instrument=instrument)
    for holder in accounts:
        yield item(REFERENCE_KIND_ACCOUNT, f"account:{holder.account_id}", holder=holder)
    for day in days:
        session = Session(str(day.day), day.open_ns, day.close_ns, day.half_day)
        yield item(REFERENCE_KIND_SESSION, f"session:{day.day}", session=session)
    yield item(REFERENCE_KIND_SNAPSHOT_END, "snapshot-end")
