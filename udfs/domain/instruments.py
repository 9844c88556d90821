"""An instrument as the risk stage knows it: its terms, and the last prices seen for it.

Ordering: the last record of reference data counts, and the nbbo record with the highest sequence.
Invariants: a price of 0 means that there is none; `multiplier` is 1 for a stock.
Choice of marks: a position is worth what ending it would bring or cost now: a long one the national best bid, a short
one the national best ask. Where that side is empty the last eligible trade counts, then the prior close (of a future:
its settlement price). `mark` is for other instruments that depend on this one, which have no side: the midpoint.
Known limits: one currency; an option is American and settles in shares, or in cash when it is on a broad index; a
future settles in cash.
Complexity: constant.
"""

from typing import Final

from schemas.messages.enums import (
    ASSET_CLASS_FUTURE,
    ASSET_CLASS_INDEX,
    ASSET_CLASS_OPTION,
    ASSET_CLASS_STOCK,
    OPTION_RIGHT_CALL,
    OPTION_RIGHT_NONE,
)
from schemas.messages.reference_data import Contract, Instrument
from udfs.domain.cushion import Band
from udfs.domain.rules import MAX_PRICE_E4, NEVER_NS, listing_exchange

MAX_MULTIPLIER: Final = 100_000


class InstrumentState:
    """An instrument; prices may be seen before its record comes, until then it is not `listed`."""

    __slots__ = (
        "active",
        "ask_e4",
        "asset_class",
        "average_volume",
        "band",
        "bid_e4",
        "broad_index",
        "easy_to_borrow",
        "expired",
        "expiry_ns",
        "final_e4",
        "fresh_close",
        "has_options",
        "is_call",
        "is_future",
        "is_option",
        "last_e4",
        "listed",
        "listing",
        "maintenance_e4",
        "moved",
        "multiplier",
        "offered_settlement_e4",
        "offered_settlement_ns",
        "prior_close_e4",
        "quote_sequence",
        "sector",
        "settlement_e4",
        "settlement_ns",
        "shard",
        "strike_e4",
        "symbol",
        "tick_e4",
        "underlying",
        "was_reversed",
    )

    def __init__(self, symbol: str, shard: int) -> None:
        self.symbol = symbol
        self.shard = shard
        self.listed: bool = False
        self.active: bool = False
        # The exchange that lists it, as rules.py names it; "" until a record of this release came.
        self.listing: str = ""
        self.tick_e4: int = 1
        self.asset_class: int = ASSET_CLASS_STOCK
        self.prior_close_e4: int = 0
        self.sector: str = ""
        self.average_volume: int = 0
        self.easy_to_borrow: bool = False
        self.is_option: bool = False
        self.is_future: bool = False
        self.is_call: bool = False
        self.multiplier: int = 1
        self.underlying: str = ""
        self.expiry_ns: int = NEVER_NS
        self.strike_e4: int = 0
        self.broad_index: bool = False
        self.maintenance_e4: int = 0
        self.settlement_e4: int = 0
        self.settlement_ns: int = 0
        # What the last record gave, until contract_desk.py has taken it.
        self.offered_settlement_e4: int = 0
        self.offered_settlement_ns: int = 0
        # Whether its expiry has been processed, and the price that it was settled at.
        self.expired: bool = False
        self.final_e4: int = 0
        self.bid_e4: int = 0
        self.ask_e4: int = 0
        self.last_e4: int = 0
        # Units that came to the shard's accounts since they were loaded, less those that left them.
        self.moved: int = 0
        self.quote_sequence: int = -1
        # Whether the prior close was given after the last session had closed, and whether there was a reverse split.
        self.fresh_close: bool = False
        self.was_reversed: bool = False
        # Whether an option on it was ever listed here; nothing that a snapshot holds, because it follows from the options.
        self.has_options: bool = False
        # What the cushions of accounts count on; no snapshot holds it.
        self.band: Band | None = None

    def pays_fees(self) -> bool:
        """Whether a sale of it pays the regulatory fees of fees.py: a stock does."""
        return not self.is_option and not self.is_future

    def take_terms(self, record: Instrument) -> None:
        """Take over a record that `terms_problem` has nothing against.

        A future's first settlement price (its prior close when it has none) is where it starts; later ones are only
        offered here, because they move money.
        """
        first = not self.listed
        self.listed = True
        self.end_band()
        self.active = record.active
        self.listing = listing_exchange(record.primary_exchange)
        self.tick_e4 = record.tick_size
        self.asset_class = record.asset_class
        self.prior_close_e4 = usable(record.prior_close)
        self.sector = record.sector or ""
        self.average_volume = record.average_volume or 0
        self.easy_to_borrow = record.easy_to_borrow is True
        self.is_option = record.asset_class == ASSET_CLASS_OPTION
        self.is_future = record.asset_class == ASSET_CLASS_FUTURE
        contract = record.contract
        if contract is None or not (self.is_option or self.is_future):
            return
        self.multiplier = contract.multiplier
        self.underlying = contract.underlying
        if self.expired:
            # What was settled at the expiry stays settled: the terms of a contract that is over do not change.
            return
        self.expiry_ns = contract.expiry_time
        self.is_call = contract.right == OPTION_RIGHT_CALL
        self.strike_e4 = contract.strike
        self.broad_index = contract.broad_index
        self.maintenance_e4 = contract.maintenance_margin
        self.offered_settlement_e4 = contract.settlement_price
        self.offered_settlement_ns = contract.settlement_time
        if first and self.is_future:
            self.settlement_e4 = contract.settlement_price or self.prior_close_e4
            self.settlement_ns = contract.settlement_time

    def tradable(self) -> bool:
        """Whether orders may be placed in it: an index is only a price."""
        return self.active and self.asset_class != ASSET_CLASS_INDEX

    def long_mark(self) -> int:
        """What one unit held is worth; 0 when nothing is known."""
        if self.bid_e4:
            return self.bid_e4
        return self.last_e4 or self.close_price()

    def short_mark(self) -> int:
        """What one unit owed costs; 0 when nothing is known."""
        if self.ask_e4:
            return self.ask_e4
        return self.last_e4 or self.close_price()

    def check_band(self) -> None:
        """A price has changed: the band ends when a mark is out of it."""
        band = self.band
        if band is not None and not band.holds(self.long_mark(), self.short_mark()):
            self.end_band()

    def end_band(self) -> None:
        """Nothing counts on the marks any more."""
        band = self.band
        if band is not None:
            self.band = None
            band.end()

    def marked_band(self) -> Band | None:
        """The band around the marks of a stock, begun when there is none; None of a contract, or without a price."""
        band = self.band
        if band is None and not self.is_option and not self.is_future:
            long_mark = self.long_mark()
            short_mark = self.short_mark()
            if long_mark > 0 and short_mark > 0:
                band = Band(long_mark, short_mark)
                self.band = band
        return band

    def mark(self) -> int:
        """The price without a side: the midpoint, rounded down, or the one side there is, then as above."""
        if self.bid_e4 and self.ask_e4:
            return (self.bid_e4 + self.ask_e4) // 2
        return self.bid_e4 or self.ask_e4 or self.last_e4 or self.close_price()

    def close_price(self) -> int:
        """The last official price: a future's settlement price, else the prior close."""
        if self.is_future and self.settlement_e4:
            return self.settlement_e4
        return self.prior_close_e4


def usable(price: int) -> int:
    """The price, or 0 when it cannot be real."""
    return price if 0 < price <= MAX_PRICE_E4 else 0


def terms_problem(record: Instrument) -> str:
    """What is impossible about an instrument's record, or an empty text."""
    if record.tick_size <= 0 or record.tick_size > MAX_PRICE_E4:
        return f"tick size {record.tick_size} is not in 1 to {MAX_PRICE_E4}"
    asset_class = record.asset_class
    if asset_class in (ASSET_CLASS_STOCK, ASSET_CLASS_INDEX):
        return ""
    if asset_class != ASSET_CLASS_OPTION and asset_class != ASSET_CLASS_FUTURE:
        return "the asset class is not known to this release"
    contract = record.contract
    if contract is None:
        return "an option or a future without its contract"
    return _contract_problem(contract, asset_class == ASSET_CLASS_OPTION)


def _contract_problem(contract: Contract, is_option: bool) -> str:
    """What is impossible about a contract."""
    if contract.multiplier <= 0 or contract.multiplier > MAX_MULTIPLIER:
        return f"multiplier {contract.multiplier} is not in 1 to {MAX_MULTIPLIER}"
    if contract.expiry_time <= 0:
        return f"expiry time {contract.expiry_time} is not positive"
    if not contract.underlying:
        return "a contract without an underlying"
    if is_option:
        if contract.right == OPTION_RIGHT_NONE or contract.right > 2:
            return "an option that is neither a call nor a put"
        if usable(contract.strike) == 0:
            return f"strike {contract.strike} is not in 1 to {MAX_PRICE_E4}"
    elif contract.maintenance_margin < 0 or contract.maintenance_margin > MAX_PRICE_E4:
        return f"maintenance margin {contract.maintenance_margin} is not in 0 to {MAX_PRICE_E4}"
    if contract.settlement_price < 0 or contract.settlement_price > MAX_PRICE_E4:
        return f"settlement price {contract.settlement_price} is not in 0 to {MAX_PRICE_E4}"
    return ""
