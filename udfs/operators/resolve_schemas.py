"""Records of other writer schemas, turned into current ones before they reach an engine. Off the hot path.

An engine reads the current schema of a topic only. A record with another schema id was written by an older or a newer
release: its schema is fetched from the registry once and Avro's resolution rules turn the record into the current form.
What cannot be resolved goes to the engine as it came, which answers it with a dead letter that says why.
"""

from collections.abc import Mapping

from schemas.errors import DecodeError
from schemas.registry import Registry
from schemas.resolution import Resolver


def frame_prefix(schema_id: int) -> bytes:
    """The first five bytes of every record of a schema: magic byte and id."""
    return b"\0" + schema_id.to_bytes(4, "big")


class SchemaResolution:
    """Callable (source tag, record) -> record in the current schema, pickled to the TaskManagers.

    url, credentials: the registry's. topics: topic of each source tag. schema_ids: current id by topic.
    """

    def __init__(
        self, url: str, credentials: tuple[str, str] | None, topics: Mapping[int, str], schema_ids: Mapping[str, int]
    ) -> None:
        self.url = url
        self.credentials = credentials
        self.topics = dict(topics)
        self.schema_ids = dict(schema_ids)
        self.resolvers: dict[int, Resolver] = {}

    def prefixes(self) -> dict[int, bytes]:
        """What current records of each source tag start with."""
        return {source: frame_prefix(self.schema_ids[topic]) for source, topic in self.topics.items()}

    def __call__(self, source: int, payload: bytes) -> bytes:
        """The record in the current schema, or as it is when it cannot be read.

        Raises RegistryError when the registry cannot be asked: the job restarts and asks again, and no record is
        called bad because a server was away.
        """
        resolver = self.resolvers.get(source)
        if resolver is None:
            topic = self.topics[source]
            registry = Registry(self.url, credentials=self.credentials)
            resolver = self.resolvers[source] = Resolver(topic, self.schema_ids[topic], registry.schema)
        try:
            return resolver.resolve(payload)
        except DecodeError:
            return payload
