"""Job graphs, configuration and the command line of tradestream."""
