"""Questions to the Prometheus of a local stack."""

from __future__ import annotations

import json
import urllib.parse
import urllib.request
from typing import Any

from jobs.config import Config


def ask(config: Config, path: str, **words: str) -> Any:
    """What Prometheus's API answers; its errors are HTTP errors."""
    url = f"http://127.0.0.1:{config.stack.port('prometheus')}/api/v1/{path}?{urllib.parse.urlencode(words)}"
    with urllib.request.urlopen(url, timeout=30) as response:
        answer = json.load(response)
    assert answer["status"] == "success", answer
    return answer["data"]


def firing(config: Config) -> list[dict[str, str]]:
    """The labels of all alerts that fire now, with their summary."""
    return [
        alert["labels"] | {"summary": alert["annotations"]["summary"]}
        for alert in ask(config, "alerts")["alerts"]
        if alert["state"] == "firing"
    ]
