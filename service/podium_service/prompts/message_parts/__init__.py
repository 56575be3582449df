"""The parts of a message that are not its words: tool calls, tool results, and images."""
