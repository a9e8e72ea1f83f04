"""The error tree: what may be shown to a person in chat, and what may not."""


class OrchestratorError(Exception):
    """Any failure that this project names itself."""


class UserError(OrchestratorError):
    """A refusal that a person may read: it names the object, the fact and the way out."""


class NotFound(UserError):
    """The named thing does not exist."""


class Conflict(UserError):
    """The thing exists, but its present state does not allow what was asked."""


class Forbidden(UserError):
    """The person does not hold the role that this needs."""
