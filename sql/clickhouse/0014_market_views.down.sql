DROP VIEW IF EXISTS account_activity SYNC;
DROP VIEW IF EXISTS fills_by_venue SYNC;
DROP VIEW IF EXISTS latest_prices SYNC;
