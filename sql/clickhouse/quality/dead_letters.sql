-- What must hold in dead_letters beyond what its schema says. Each statement selects the rows that break its rule.

-- rule: keys: a record is refused once by a stage of a job
SELECT event_id, job, stage, _topic, count() AS letters
FROM {batch}
GROUP BY event_id, job, stage, _topic
HAVING letters > 1

-- rule: references: the source is a position of a topic of the catalogue
SELECT event_id, source_topic, source_partition, source_offset
FROM {batch}
WHERE source_topic NOT IN ($topics) OR source_partition < 0 OR source_offset < 0
