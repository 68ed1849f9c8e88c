"""The errors that a user sees: one line each, saying what, where and what to do.

Everything that kharden raises on purpose is a `KhardenError`. The command line prints `str(error)` and leaves
with `error.exit_code`; anything else that reaches it is a bug. A leaf also inherits the builtin that fits, so that
library users can catch what they know.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence


class KhardenError(Exception):
    """The root: a message (what and where), details (further lines) and a remedy (what to do).

    Args:
        message: What went wrong and where, in one line, without a full stop and without any secret.
        remedy: What the user can do, in the imperative, one line.
        details: Further lines, printed below, for example every problem of a file.
    """

    exit_code = 1

    def __init__(self, message: str, *, remedy: str = "", details: Sequence[str] = ()) -> None:
        super().__init__(message)
        self.message = message
        self.remedy = remedy
        self.details = tuple(details)

    def __str__(self) -> str:
        """The one line: message and remedy."""
        return f"{self.message}: {self.remedy}" if self.remedy else self.message

    def as_document(self) -> dict[str, Any]:
        """The same for a script; leaves add what they know."""
        return {"error": self.message, "remedy": self.remedy, "details": list(self.details)}


class InputError(KhardenError, ValueError):
    """What a person wrote, in a file or as an argument, can't be used; nothing was changed."""


class MissingError(KhardenError, LookupError):
    """Something this machine or the repository should have is not there (a program, a right, a store)."""


class IntegrityError(KhardenError):
    """Bytes are not the ones expected: a digest, a key pair, a sealed store. Nothing of it is used."""


class RemoteError(KhardenError, ConnectionError):
    """A node could not be reached, or something failed on it."""


class RefusedError(KhardenError):
    """It could be done, but it would harm: consent or another state is needed first."""
