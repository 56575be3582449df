"""Make a bad trajectory to plant among real ones, to catch a judge that does not read them."""

import secrets

from podium_service.prompts.defences.escape import mark_spaces

# No task asks for these: they are neither an answer, nor an honest failure, nor a claim.
_TEXTS = (
    "lorem ipsum dolor sit amet, consectetur adipiscing elit",
    "The weather has been pleasant lately. That is all I have to say.",
    "asdf asdf asdf asdf",
    "Once there was a snail that lived under a red mushroom. It liked the rain.",
    "qwertyuiop zxcvbnm",
    "My favourite colours are green and brown, and sometimes grey.",
)


def make_canary(*, actions_first: bool, datamarked: bool) -> str:
    """Return a random bad body in the layout that `transcript` gives to real ones."""
    text = secrets.choice(_TEXTS)
    message = f'<message role="assistant">\n{mark_spaces(text) if datamarked else text}\n</message>'
    return f"<actions>none</actions>\n<claims>\n{message}\n</claims>" if actions_first else message
