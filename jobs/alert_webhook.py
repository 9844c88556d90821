"""An example consumer of alerts: posts each one to a web address, at least once.

What it shows to whoever writes another (mail, chat, a pager):
    committed records only, so that no alert is told that is taken back after a failure;
    offsets are committed after the receiver has answered, so that a crash repeats alerts and loses none;
    the alert's `eventId` goes along as `Idempotency-Key`, the same however often the alert is sent, to drop repetitions by;
    a receiver that is away is asked again, ever more rarely, and nothing is overtaken meanwhile;
    one that refuses an alert (4xx) is not asked again: that alert is counted, said, and passed over;
    one that has moved (3xx) counts as away: to follow it would be to ask for its page, without the alert.
"""

from __future__ import annotations

import json
import threading
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass, field
from http.client import HTTPException
from typing import Any, Final

from confluent_kafka import Consumer, KafkaError, KafkaException

from jobs.config import Config
from jobs.tail import Decoder
from schemas.catalogue import TOPICS
from schemas.errors import DecodeError
from schemas.json_form import to_json

TOPIC: Final = TOPICS["alerts"]
FIRST_WAIT_S: Final = 0.5
LONGEST_WAIT_S: Final = 30.0
_BATCH: Final = 100
_LATER: Final = (408, 425, 429)
# A receiver may be away for long; until then the consumer keeps its place in the group without asking for records.
_LONGEST_AWAY_MS: Final = 24 * 3_600 * 1_000


class _Stay(urllib.request.HTTPRedirectHandler):
    """Follows no redirection: urllib would turn the post into a plain request without its body."""

    def redirect_request(self, *_: Any) -> None:
        """Of any answer 3xx: an error like 5xx."""


_OPENER: Final = urllib.request.build_opener(_Stay)


@dataclass(slots=True)
class Webhook:
    """Posts alerts to `url`. `stop` ends its waiting. `say`: gets what a person should know. Counts what it did."""

    url: str
    stop: threading.Event
    say: Callable[[str], None]
    timeout_s: float = 10.0
    first_wait_s: float = FIRST_WAIT_S
    sent: int = 0
    refused: int = 0
    retries: int = 0
    _wait_s: float = field(init=False, default=0.0)

    def send(self, alert: dict[str, Any]) -> bool:
        """Post until the receiver has taken or refused the alert; False when it was stopped before."""
        self._wait_s = self.first_wait_s
        while not self.stop.is_set():
            problem = self._post(alert)
            if not problem:
                return True
            self.retries += 1
            self.say(f"alert {alert['eventId']}: {problem}; again in {self._wait_s:g} s")
            self.stop.wait(self._wait_s)
            self._wait_s = min(2 * self._wait_s, LONGEST_WAIT_S)
        return False

    def _post(self, alert: dict[str, Any]) -> str:
        """One attempt. Why it must be repeated, or an empty text."""
        headers = {"Content-Type": "application/json", "Idempotency-Key": str(alert["eventId"])}
        body = json.dumps(to_json(alert)).encode()
        request = urllib.request.Request(self.url, body, headers, method="POST")
        try:
            with _OPENER.open(request, timeout=self.timeout_s):
                self.sent += 1
                return ""
        except urllib.error.HTTPError as error:
            error.close()
            moved = error.headers.get("Location") if 300 <= error.code < 400 else None
            if moved:
                return f"{error.code} {error.reason}: it has moved to {moved}"
            if 400 <= error.code < 500 and error.code not in _LATER:
                self.refused += 1
                self.say(f"alert {alert['eventId']} is refused: {error.code} {error.reason}")
                return ""
            return f"{error.code} {error.reason}"
        except (OSError, HTTPException) as error:
            return str(error) or type(error).__name__


def open_consumer(config: Config, group: str) -> Consumer:
    """A consumer of a group that begins at the oldest alert and commits only what it is told to."""
    return Consumer(
        {
            **config.kafka.confluent(),
            "group.id": group,
            "isolation.level": "read_committed",
            "auto.offset.reset": "earliest",
            "enable.auto.commit": False,
            "enable.auto.offset.store": False,
            "allow.auto.create.topics": False,
            "max.poll.interval.ms": _LONGEST_AWAY_MS,
        }
    )


def run(consumer: Consumer, decoder: Decoder, webhook: Webhook) -> None:
    """Post alerts until `webhook.stop` is set; what was answered is committed then, and the consumer closed.

    Raises KafkaException. A record that cannot be decoded is said and passed over.
    """
    consumer.subscribe([TOPIC.name])
    try:
        while not webhook.stop.is_set():
            answered = False
            for message in consumer.consume(_BATCH, timeout=0.2):
                error = message.error()
                if error is not None:
                    if error.code() == KafkaError._PARTITION_EOF or error.retriable():
                        continue
                    raise KafkaException(error)
                if not _tell(decoder, webhook, message.value()):
                    break
                consumer.store_offsets(message)
                answered = True
            if answered:
                consumer.commit(asynchronous=False)
    finally:
        consumer.close()


def _tell(decoder: Decoder, webhook: Webhook, frame: bytes | None) -> bool:
    """Post the alert of a record; False when it was stopped before it was answered."""
    try:
        alert = decoder.decode(frame or b"")
    except DecodeError as error:
        webhook.say(f"a record of {TOPIC.name} cannot be read: {error}")
        return True
    return webhook.send(alert)
