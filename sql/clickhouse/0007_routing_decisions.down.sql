DROP TABLE IF EXISTS routing_decisions SYNC;
