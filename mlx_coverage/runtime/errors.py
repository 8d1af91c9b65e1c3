"""What can go wrong with the runtime.

* RuntimeUnavailable: the runtime cannot be built or loaded here.
    * BuildFailed: there is a compiler, and it failed.
* OptionRefused: an option has no such name or value, or comes too late.
* SessionError: a session is closed, or cannot be saved or loaded.
"""

from pathlib import Path


class NativeRuntimeError(Exception):
    """Base of this package's exceptions. Its text is one sentence for the user."""


class RuntimeUnavailable(NativeRuntimeError):  # noqa: N818 - names the condition
    """Something that the runtime needs is missing; the sentence says how to get it."""


class BuildFailed(RuntimeUnavailable):
    """The compiler failed; `log` holds its output.

    Attributes:
        log: the file with the commands and their output.
    """

    def __init__(self, sentence: str, log: Path) -> None:
        super().__init__(sentence)
        self.log = log


class OptionRefused(NativeRuntimeError):  # noqa: N818 - names the condition
    """An option was not accepted."""


class SessionError(NativeRuntimeError):
    """What was asked of a session failed."""
