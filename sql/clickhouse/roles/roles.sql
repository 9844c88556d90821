-- Roles of a ClickHouse server, for the database tradestream; an administrator runs it once, after `tradestream migrate`,
-- and gives each user one of them (roles.md). It may be run again. The embedded engine has no roles of its own: there the
-- gateway enforces admin, writer and readonly (infra/clickhouse_users.py).

CREATE ROLE IF NOT EXISTS tradestream_admin, tradestream_writer, tradestream_analyst, tradestream_auditor, tradestream_desk_equities;

-- Migrates, and drops what retention allows. Nobody works as this role every day.
GRANT SELECT, INSERT, ALTER, CREATE, DROP, TRUNCATE, OPTIMIZE, SHOW ON tradestream.* TO tradestream_admin;
GRANT SELECT ON system.* TO tradestream_admin;

-- The archive job: it adds rows and asks which are there. It changes and deletes nothing.
GRANT SELECT, INSERT, SHOW ON tradestream.* TO tradestream_writer;
GRANT SELECT(query_id) ON system.processes TO tradestream_writer;

-- People and tools that ask questions.
GRANT SELECT, SHOW ON tradestream.* TO tradestream_analyst;

-- Whoever verifies the trail: its links and roots, the commands of operators, and which migrations were run.
GRANT SELECT, SHOW ON tradestream.audit_records TO tradestream_auditor;
GRANT SELECT, SHOW ON tradestream.audit_roots TO tradestream_auditor;
GRANT SELECT, SHOW ON tradestream.controls TO tradestream_auditor;
GRANT SELECT, SHOW ON tradestream.schema_migrations TO tradestream_auditor;

-- An example of a desk that sees its own orders and executions only: the accounts whose reference data names it.
GRANT SELECT, SHOW ON tradestream.order_events TO tradestream_desk_equities;
GRANT SELECT, SHOW ON tradestream.trade_events TO tradestream_desk_equities;
GRANT SELECT(account_account_id, account_desk) ON tradestream.reference_data TO tradestream_desk_equities;

CREATE ROW POLICY IF NOT EXISTS desk_equities ON tradestream.order_events, tradestream.trade_events
    USING account_id IN (SELECT account_account_id FROM tradestream.reference_data WHERE account_desk = 'equities')
    TO tradestream_desk_equities;
-- A policy on a table makes what others see of it depend on policies: everyone else sees all.
CREATE ROW POLICY IF NOT EXISTS everyone_else ON tradestream.order_events, tradestream.trade_events
    USING 1 TO ALL EXCEPT tradestream_desk_equities;

CREATE SETTINGS PROFILE IF NOT EXISTS tradestream_reader SETTINGS
    readonly = 2, max_execution_time = 60, max_memory_usage = 8000000000, max_result_rows = 10000000
    TO tradestream_analyst, tradestream_auditor, tradestream_desk_equities;
CREATE QUOTA IF NOT EXISTS tradestream_reader KEYED BY user_name
    FOR INTERVAL 1 hour MAX queries = 5000, execution_time = 3600
    TO tradestream_analyst, tradestream_auditor, tradestream_desk_equities;
