"""The market passthrough job: what `tradestream bench market-data` compares the market data job with.

1. Read raw feed records from Kafka and decode their Avro, all fields, in the JVM.
2. Encode them again and write them in one transaction a checkpoint, with the sink settings of the market data job.

No Python, no state, no look at what the records say: one record for each that comes. The format is Flink's own
(avro-confluent), whose jar the local stack does not have otherwise; it is fetched into the cache once.

Inputs: raw-feed.
Outputs: market-data, which holds raw feed records then: for a benchmark's stack only.
Delivery: exactly once.
"""

from __future__ import annotations

from typing import Final

from pyflink.table import StatementSet

from infra.artifacts import AVRO_FORMAT, ensure_jar
from jobs.config import Config
from jobs.runtime import Environments, create_environments, create_sink, create_source, submit
from schemas.catalogue import TOPICS

NAME: Final = "market_passthrough"
_SHAPE: Final = "decoded_feed.sql"


def build(config: Config, env: Environments) -> StatementSet:
    """The graph; the numbers are those of the module's description."""
    jar = ensure_jar(config, AVRO_FORMAT, lambda _line: None)
    env.stream.add_jars(jar.as_uri())
    raw = TOPICS["raw-feed"]
    avro = {
        "value.avro-confluent.url": config.registry.url,
        "value.avro-confluent.schema": raw.schema_file.read_text(encoding="utf-8"),
    }

    # 1. Decoded.
    create_source(env, config, "decoded_source", "raw-feed", group=NAME, extra=avro, shape=_SHAPE)

    # 2. Encoded.
    avro["value.avro-confluent.subject"] = raw.subject
    create_sink(
        env,
        config,
        "encoded_sink",
        ("market-data",),
        transactional_prefix=f"tradestream-{NAME}",
        extra=avro,
        shape=_SHAPE,
    )
    inserts = env.table.create_statement_set()
    inserts.add_insert_sql("INSERT INTO encoded_sink SELECT * FROM decoded_source")
    return inserts


def main() -> None:
    """Submit the job to the cluster that `flink run` points at."""
    config = Config.load()
    env = create_environments(config, NAME)
    submit(env, build(config, env), NAME)


if __name__ == "__main__":
    main()
