"""The routes that tell what the store keeps, and take what people say about it."""
