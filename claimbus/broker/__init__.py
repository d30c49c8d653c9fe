"""RabbitMQ: topology, connection, publisher, consumer, journal. The only room that imports pika."""
