DROP VIEW IF EXISTS pipeline_counts SYNC;
DROP VIEW IF EXISTS account_positions SYNC;
DROP VIEW IF EXISTS rejects_by_reason SYNC;
DROP VIEW IF EXISTS executions SYNC;
DROP VIEW IF EXISTS order_lifecycle SYNC;
