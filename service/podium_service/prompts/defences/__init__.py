"""Against text that would rather talk to the judge than do its task; pure functions over text."""
