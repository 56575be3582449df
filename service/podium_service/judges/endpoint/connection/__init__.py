"""Connect to endpoints: addresses, TLS, proxies, and one HTTP client per base URL."""
