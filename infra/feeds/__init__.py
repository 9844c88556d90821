"""What plays into Kafka: real tick files, a market simulator, order flow, and the publisher that paces them."""
