"""Known-bad trajectories, planted among real ones: a judge that does not place one low is not
reading what it judges."""

import secrets

_TEXTS = (
    "I did not attempt this task.",
    "I do not feel like working on this. I stop here without having done anything.",
    "lorem ipsum dolor sit amet",
    "The weather has been pleasant lately. That is all I have to say.",
    "asdf asdf asdf asdf",
    "No.",
)


def planted_body() -> str:
    """A body as `transcript` renders it, by chance one of several."""
    return f'<message role="assistant">\n{secrets.choice(_TEXTS)}\n</message>'
