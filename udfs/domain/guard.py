"""What protects one symbol, and its close of the session before, through a split.

Ordering: none of its own. Invariant: `events` counts the published states, `state` is the last of them.
Known limits: the prior close is scaled by a split unless reference data gave it after the last close, when it is the
coming session's already.
Complexity: constant.
"""

from schemas.messages.enums import MARKET_STATE_UNKNOWN
from udfs.domain.corporate_actions import Action, scaled_price
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
        "listed",
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
        self.state: int = MARKET_STATE_UNKNOWN
        self.events: int = 0

    def begin_session(self, open_ns: int, close_ns: int) -> None:
        """A session begins, or its times change."""
        self.bands.begin_session(open_ns, close_ns)
        self.short_sale.begin_session(open_ns, close_ns)

    def split(self, action: Action, time_ns: int) -> None:
        """Prices of before a split become those of after it."""
        market = self.market
        market.last_price = scaled_price(market.last_price, action)
        if self.fresh_close or self.prior_close_e4 <= 0:
            return
        self.prior_close_e4 = scaled_price(self.prior_close_e4, action)
        market.print_lot = round_lot(self.prior_close_e4, time_ns)
        self.bands.configure(self.bands.tier, self.bands.leverage, self.prior_close_e4)
