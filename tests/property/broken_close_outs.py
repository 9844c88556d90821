"""Rules about fails to deliver that are taken back, in the form of broken_engines.py."""

from __future__ import annotations

CLOSE_OUTS: tuple[tuple[str, str, str, str], ...] = (
    (
        "three sessions for a fail of a short sale",
        "close_out",
        "return found.short_sessions if sale == FAILED_SALE_SHORT else found.long_sessions",
        "return found.long_sessions",
    ),
    (
        "one session for a fail of a long sale",
        "close_out",
        "return found.short_sessions if sale == FAILED_SALE_SHORT else found.long_sessions",
        "return found.short_sessions",
    ),
    (
        "a missed close-out refuses nothing",
        "switches",
        "return symbol in self.close_outs or symbol in account.close_outs",
        "return False",
    ),
    (
        "a fail of the firm binds nobody",
        "switches",
        "return symbol in self.close_outs or symbol in account.close_outs",
        "return symbol in account.close_outs",
    ),
    ("located shares count as borrowed", "close_out", "            account.locates.pop(fail.symbol, None)\n", ""),
    (
        "open short sales stay after a missed close-out",
        "close_out",
        "if order.position.symbol != fail.symbol or order.side <= SIDE_SELL:",
        "if order.position.symbol == fail.symbol:",
    ),
    (
        "borrowed shares sold short twice",
        "order_desk",
        "if position.instrument.easy_to_borrow and not self.switches.must_borrow(order.account, position.symbol):",
        "if position.instrument.easy_to_borrow:",
    ),
    (
        "a purchase after the deadline counts before it has settled",
        "close_out",
        "            if not fail.missed:\n                self._close(fail, part,",
        "            if True:\n                self._close(fail, part,",
    ),
    (
        "purchases close out nothing",
        "risk_shard",
        "if order.account.fails and order.is_buy and line.filled_quantity:",
        "if False:",
    ),
    (
        "sales close out fails",
        "risk_shard",
        "if order.account.fails and order.is_buy and line.filled_quantity:",
        "if order.account.fails and line.filled_quantity:",
    ),
)
