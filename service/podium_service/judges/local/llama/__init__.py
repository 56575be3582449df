"""Run GGUF models by llama.cpp in this process."""
