"""Chat completions over HTTP, as OpenAI's API has them."""
