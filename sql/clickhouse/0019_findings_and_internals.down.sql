DROP TABLE IF EXISTS surveillance_alerts SYNC;
DROP TABLE IF EXISTS audit_records SYNC;
DROP TABLE IF EXISTS audit_roots SYNC;
DROP TABLE IF EXISTS report_events SYNC;
DROP TABLE IF EXISTS order_outcomes SYNC;
