"""What fills a port: platforms, models, tools and the bus."""
