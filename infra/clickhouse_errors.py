"""Errors of the ClickHouse gateway, in the words and numbers that ClickHouse clients know.

Every refusal leaves the gateway as `Code: N. DB::Exception: text. (NAME) (version V)` with the HTTP status that a
ClickHouse server would give for that code, so that a client needs no special case for the gateway.
"""

from __future__ import annotations

import re

# The codes that the gateway raises itself; the engine's own errors carry their code and name in their text.
NAMES: dict[int, str] = {
    36: "BAD_ARGUMENTS",
    48: "NOT_IMPLEMENTED",
    62: "SYNTAX_ERROR",
    108: "NO_DATA_TO_INSERT",
    117: "INCORRECT_DATA",
    164: "READONLY",
    194: "REQUIRED_PASSWORD",
    202: "TOO_MANY_SIMULTANEOUS_QUERIES",
    209: "SOCKET_TIMEOUT",
    236: "ABORTED",
    241: "MEMORY_LIMIT_EXCEEDED",
    291: "DATABASE_ACCESS_DENIED",
    354: "INFLATE_FAILED",
    358: "INTO_OUTFILE_NOT_ALLOWED",
    372: "SESSION_NOT_FOUND",
    373: "SESSION_IS_LOCKED",
    381: "HTTP_LENGTH_REQUIRED",
    466: "INVALID_SESSION_TIMEOUT",
    497: "ACCESS_DENIED",
    516: "AUTHENTICATION_FAILED",
    636: "CANNOT_EXTRACT_TABLE_STRUCTURE",
}

# ClickHouse's own table of code to status (HTTPHandler); a code that is not here is answered with 500.
_BAD_REQUEST = {
    *(6, 20, 24, 26, 27, 28, 29, 30, 31, 32, 33, 34, 35, 36, 38, 41, 43, 44, 53, 62, 66, 69, 70, 72, 117, 130, 131),
    *(176, 321, 427, 456, 457, 461, 466, 636),
}
_NOT_FOUND = {46, 47, 50, 56, 60, 63, 73, 78, 81, 115, 137, 511}
_STATUS: dict[int, int] = {
    **dict.fromkeys(_BAD_REQUEST, 400),
    **dict.fromkeys(_NOT_FOUND, 404),
    **dict.fromkeys((192, 193, 516), 403),
    **dict.fromkeys((209, 74, 439, 202, 236), 503),
    48: 501,
    159: 408,
    167: 400,
    168: 400,
    194: 401,
    223: 413,
    381: 411,
}

_ENGINE_TEXT = re.compile(r"Code:\s*(\d+)\.\s*DB::\w*Exception:\s*", re.S)
_VERSION_TAIL = re.compile(r"\s*\(version [^()]*(?:\([^()]*\))?\)")
_NAME_TAIL = re.compile(r"\s*\(([A-Z0-9_]{3,})\)\.?\s*$")


class GatewayError(Exception):
    """A request that is answered with a ClickHouse error.

    `status` overrides the HTTP status that follows from the code; `close` asks for the connection to be closed
    because the request's body was not read to its end.
    """

    def __init__(self, code: int, text: str, *, name: str = "", status: int | None = None, close: bool = False) -> None:
        self.code = code
        self.name = name or NAMES.get(code, "UNKNOWN_EXCEPTION")
        self.text = text.rstrip()
        self.status = status if status is not None else _STATUS.get(code, 500)
        self.close = close
        super().__init__(f"Code: {code}. {self.text} ({self.name})")

    def body(self, version: str) -> bytes:
        """The text that goes to the client, ended by a newline."""
        dot = "" if self.text.endswith((".", "!", "?")) else "."
        return f"Code: {self.code}. DB::Exception: {self.text}{dot} ({self.name}) (version {version})\n".encode()


def from_engine(error: BaseException | str) -> GatewayError:
    """Turn the text of an engine's exception into a GatewayError; wrapped repetitions of the code are removed."""
    text = str(error).strip()
    found = _ENGINE_TEXT.search(text)
    if found is None:
        return GatewayError(1000, text or "the engine failed without a message", name="POCO_EXCEPTION")
    code = int(found.group(1))
    text = text[found.end() :]
    while nested := _ENGINE_TEXT.match(text):
        text = text[nested.end() :]
    text = _VERSION_TAIL.sub("", text)
    name = ""
    while tail := _NAME_TAIL.search(text):
        name = tail.group(1)
        text = text[: tail.start()].rstrip()
        text = text[:-1] if text.endswith("..") else text
    return GatewayError(code, text, name=name)
