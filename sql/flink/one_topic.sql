-- One topic of a source that reads several, as the source of that topic alone would be.
CREATE TEMPORARY VIEW ${table} AS
SELECT record_key, payload, `position`, kafka_time, processed
FROM ${source}
WHERE topic = '${topic}'
