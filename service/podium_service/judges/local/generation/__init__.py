"""From the messages of a conversation to the tokens of a reply, with any `LanguageModel`."""
