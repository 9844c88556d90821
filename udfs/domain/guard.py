"""What protects one symbol, and its close of the session before, through a split.

Ordering: none of its own. Invariant: `events` counts the published states, `state` is the last of them.
Known limits: the prior close is scaled by a split unless reference data gave it after the last close, when it is the
coming session's already.
Complexity: constant.
"""

from schemas.messages.enums import MARKET_STATE_UNKNOWN
from schemas.messages.market_status import encode_fields
from udfs.domain.auction import AuctionResult
from udfs.domain.corporate_actions import Action, scaled_price
from udfs.domain.ids import market_event_id
from udfs.domain.late_limits import ReferencePrices
from udfs.domain.luld import PriceBands
from udfs.domain.market import Market
from udfs.domain.rules import round_lot
from udfs.domain.short_sale import ShortSaleTest


class Guard:
    """The guard of one market. `fresh_close`: the prior close was given after the last session had closed."""

    __slots__ = (
        "bands",
        "events",
        "fresh_close",
        "halted",
        "late_prices",
        "listed",
        "listing",
        "market",
        "prior_close_e4",
        "short_sale",
        "state",
    )

    def __init__(self, market: Market) -> None:
        self.market = market
        self.bands = PriceBands(0, 1, 0)
        self.short_sale = ShortSaleTest()
        self.prior_close_e4: int = 0
        self.fresh_close: bool = False
        self.halted: bool = False
        # Whether reference data has named it.
        self.listed: bool = False
        # The exchange that lists it, as rules.listing_exchange names it; "" while that is not known.
        self.listing: str = ""
        self.late_prices = ReferencePrices()
        self.state: int = MARKET_STATE_UNKNOWN
        self.events: int = 0

    def begin_session(self, open_ns: int, close_ns: int) -> None:
        """A session begins, or its times change."""
        self.bands.begin_session(open_ns, close_ns)
        self.short_sale.begin_session(open_ns, close_ns)

    def next_status(
        self,
        schema_id: int,
        cause: int,
        auction: AuctionResult | None,
        resume_ns: int,
        detail: str | None,
        cause_id: str,
        timestamp: int,
    ) -> bytes:
        """The market-status record of a state that has changed; `resume_ns`: when a pause or halt may end, or 0."""
        self.events += 1
        bands = self.bands
        price = 0 if auction is None else auction.price_e4
        return encode_fields(
            schema_id,
            market_event_id(self.market.symbol, self.events),
            self.market.symbol,
            self.state,
            cause,
            bands.reference_e4 if bands.reference_e4 else None,
            bands.lower_e4 if bands.lower_e4 else None,
            bands.upper_e4 if bands.upper_e4 else None,
            price if price else None,
            0 if auction is None else auction.quantity,
            0 if auction is None else auction.imbalance,
            self.short_sale.restricted,
            resume_ns if resume_ns else None,
            detail,
            cause_id,
            timestamp,
        )

    def midpoint(self) -> int:
        """The middle of the national best bid and ask, 0 when it has not both, or they are crossed."""
        bid = self.market.street.bid_price
        ask = self.market.street.ask_price
        if bid is None or ask is None or bid <= 0 or ask < bid:
            return 0
        return (bid + ask) // 2

    def auction_reference(self) -> int:
        """The price that an auction should be near: the middle of the national best, else the last print or close."""
        midpoint = self.midpoint()
        if midpoint:
            return midpoint
        return self.market.last_price if self.market.last_price else self.prior_close_e4

    def settle_prints(self, time_ns: int) -> None:
        """Prints of an auction make the reference by their own way, not as trades of continuous trading."""
        market = self.market
        if market.print_count:
            self.short_sale.on_trade(market.print_low, self.prior_close_e4, time_ns)
            market.print_count = 0
            market.print_sum = 0
            market.print_low = 0

    def split(self, action: Action, time_ns: int) -> None:
        """Prices of before a split become those of after it."""
        market = self.market
        market.last_price = scaled_price(market.last_price, action)
        if self.fresh_close or self.prior_close_e4 <= 0:
            return
        self.prior_close_e4 = scaled_price(self.prior_close_e4, action)
        market.print_lot = round_lot(self.prior_close_e4, time_ns)
        self.bands.configure(self.bands.tier, self.bands.leverage, self.prior_close_e4)
