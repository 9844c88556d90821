"""The contracts of tradestream: topics, Avro schemas, and the messages generated from them."""
