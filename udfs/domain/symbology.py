"""One spelling for each symbol: classes, preferred shares, warrants, units and rights are written differently by sources.

    ours      meaning          also written (Nasdaq Trader, "symbology": Nasdaq, CQS and CMS suffixes; vendors' slashes)
    BRK.B     class B          BRK/B   BRK B
    BAC-K     preferred K      BACpK   BAC PRK   BAC.PRK   BAC/PRK   BAC-K
    ABC-      preferred        ABCp    ABC PR
    ABC.WS    warrants         ABC+    ABC WS    ABC/WS
    ABC.U     units            ABC=    ABC U     ABC/U
    ABC.RT    rights           ABC^    ABCr      ABC RT
    ABC.WI    when issued      ABC#    ABCw      ABC WI

Invariant: `canonical_symbol(canonical_symbol(x)) == canonical_symbol(x)`. A text that follows none of these rules stays as
it is, but for spaces around it.
Known limits: a hyphen means preferred, as with the exchanges; sources that write BRK-B for a class are not understood.
Complexity: linear in the text; callers remember the result.
"""

from typing import Final

_MAX_LENGTH: Final = 16
_SIGNS: Final[dict[str, str]] = {"+": ".WS", "=": ".U", "^": ".RT", "#": ".WI", "p": "-", "r": ".RT", "w": ".WI"}
_WORDS: Final[dict[str, str]] = {"WS": ".WS", "RT": ".RT", "WI": ".WI", "PR": "-"}


def canonical_symbol(text: str) -> str:
    """The symbol in our spelling."""
    symbol = text.strip(" ")
    if len(symbol) > _MAX_LENGTH or not symbol.isascii():
        return symbol
    end = 0
    while end < len(symbol) and (symbol[end].isdigit() or "A" <= symbol[end] <= "Z"):
        end += 1
    root, suffix = symbol[:end], symbol[end:]
    if not root or not suffix:
        return symbol
    ours = _SIGNS.get(suffix)
    if ours is not None:
        return root + ours
    first, rest = suffix[0], suffix[1:]
    if first == "p" and _is_letter(rest):
        return root + "-" + rest
    if first not in "./ ":
        return symbol
    ours = _WORDS.get(rest)
    if ours is not None:
        return root + ours
    if _is_letter(rest):
        return root + "." + rest
    if rest.startswith("PR") and _is_letter(rest[2:]):
        return root + "-" + rest[2:]
    return symbol


def _is_letter(text: str) -> bool:
    return len(text) == 1 and "A" <= text <= "Z"
