"""Known-bad trajectories, planted among real ones: a judge that does not place one low is not
reading what it judges."""

import secrets

from podium_service.prompts.defences.escape import mark_spaces

# Off every task: neither an answer to something, nor an honest failure, nor a claim.
_TEXTS = (
    "lorem ipsum dolor sit amet, consectetur adipiscing elit",
    "The weather has been pleasant lately. That is all I have to say.",
    "asdf asdf asdf asdf",
    "Once there was a snail that lived under a red mushroom. It liked the rain.",
    "qwertyuiop zxcvbnm",
    "My favourite colours are green and brown, and sometimes grey.",
)


def make_canary(*, actions_first: bool, datamarked: bool) -> str:
    """A body as `transcript` renders one, by chance one of several."""
    text = secrets.choice(_TEXTS)
    said = f'<message role="assistant">\n{mark_spaces(text) if datamarked else text}\n</message>'
    return f"<actions>none</actions>\n<claims>\n{said}\n</claims>" if actions_first else said
