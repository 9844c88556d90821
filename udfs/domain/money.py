"""Exact money: integers in 1/10,000 of the currency (`_e4`), no floats.

Invariant: nothing here rounds, except the two functions whose names say in which direction.
Complexity: constant.
"""


def money_text(amount_e4: int) -> str:
    """`amount_e4` as decimal text with four places, for people: 101250000 is `10125.0000`."""
    sign = ""
    if amount_e4 < 0:
        sign = "-"
        amount_e4 = -amount_e4
    digits = str(amount_e4)
    if len(digits) < 5:
        digits = "0" * (5 - len(digits)) + digits
    return sign + digits[:-4] + "." + digits[-4:]


def optional_money_text(amount_e4: int | None) -> str:
    """`money_text`, or `none`."""
    return "none" if amount_e4 is None else money_text(amount_e4)


def round_up(amount: int, step: int) -> int:
    """The smallest multiple of `step` (positive) that is not below `amount`."""
    return -(-amount // step) * step


def round_down(amount: int, step: int) -> int:
    """The largest multiple of `step` (positive) that is not above `amount`."""
    return amount // step * step
