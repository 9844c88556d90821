-- Turns the chunks that Python emits into Kafka records. Grain: one record. Chunks are small, because UNNEST copies the
-- whole row's arrays for every element.
INSERT INTO ${sink}
SELECT ${topic_column} record_keys[place], payload
FROM ${chunks} CROSS JOIN UNNEST(record_values) WITH ORDINALITY AS record (payload, place)
WHERE ${condition}
