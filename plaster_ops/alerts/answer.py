"""What came of sending one message to one target."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True, slots=True)
class Answer:
    """`ok`: the target has the message. `is_down`: nobody answered, or not now, so that others are not tried either.

    `detail` is in our own words, and holds nothing of the address.
    """

    ok: bool
    detail: str
    is_down: bool = False


class WrongAddress(ValueError):
    """The variable holds no address of that kind; the message says what is wrong and not what it holds."""


def why(error: BaseException) -> str:
    """What went wrong, without a word of the error's own text: libraries put addresses in it."""
    number = getattr(error, "errno", None)
    known = {"gaierror": "the name of its host is not known", "TimeoutError": "no answer in time"}
    kind = type(error).__name__
    if kind in known:
        return known[kind]
    if isinstance(error, ConnectionRefusedError):
        return "connection refused"
    return f"{kind} {number}" if isinstance(number, int) else kind
