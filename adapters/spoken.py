"""What people say, as an agent takes it that has commands of its own."""

_COMMANDS = ("/", "$")
_WORDS = "A person says: "


def spoken(text: str) -> str:
    """*text* as words, however it begins.

    Such an agent takes `/healthz must answer` for a command of its that it does not have, does nothing, and has ended
    its turn well; and `/logout` for one that it has.
    """
    return f"{_WORDS}{text}" if text.lstrip().startswith(_COMMANDS) else text
