"""Rules of deposits and withdrawals that are taken back, in the form of broken_engines.py."""

from __future__ import annotations

CASH: tuple[tuple[str, str, str, str], ...] = (
    (
        "reserved money withdrawn",
        "cash_desk",
        "return max(account.buying_power(), 0)",
        "return max(account.cash_e4, 0)",
    ),
    ("withdrawal brings money", "cash_desk", "            amount = -amount\n", "            pass\n"),
    ("deposit not counted", "accounts", "        self.flows.deposited_e4 += amount_e4\n", "        pass\n"),
    (
        "withdrawal under a call",
        "cash_desk",
        "if margin.call_kind != CALL_NONE or margin.deficits:",
        "if margin.deficits:",
    ),
    (
        "minimum equity withdrawn",
        "cash_desk",
        "above_minimum if _has_commitments(account) else max(above_minimum, account.cash_e4)",
        "max(above_minimum, account.cash_e4)",
    ),
    (
        "deposit does not count against the call",
        "margin_watch",
        "            margin.call_e4 -= amount_e4\n",
        "            pass\n",
    ),
    ("do not reduce ignored", "order_adjuster", "                order.do_not_reduce,\n", "                False,\n"),
    (
        "intraday margin rule before its date",
        "margin_rules",
        "if time_ns < INTRADAY_TERMS[0].effective_from_ns:",
        "if False:",
    ),
    (
        "day trader rule for ever",
        "margin_rules",
        "if row.effective_from_ns <= time_ns < row.effective_until_ns:",
        "if row.effective_from_ns <= time_ns:",
    ),
    ("call met by a part", "margin_watch", "kind == CALL_INITIAL and margin.call_e4 <= 0", "cause != _VALUATION"),
)
