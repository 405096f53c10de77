"""Where a conversation may be shortened: whole turns, oldest first."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_OPENING_ROLES = frozenset({"system", "developer"})


def starts(messages: Sequence[Mapping[str, Any]]) -> list[int]:
    """Return the places from which the conversation can be told, earliest first.

    The first is the message behind the opening instructions, which always stay. All others
    are messages of the user, so that roles go on alternating as some chat templates demand,
    and never stand between a tool's result and the call it answers. What begins at the last
    of them is the question: the last user message and everything after it.
    """
    opening = 0
    while opening < len(messages) and messages[opening]["role"] in _OPENING_ROLES:
        opening += 1
    needed = _needed(messages)
    found = []
    reach = len(messages)
    for place in range(len(messages) - 1, opening, -1):
        reach = min(reach, needed[place])
        if reach == place and messages[place]["role"] == "user":
            found.append(place)
    return [opening, *reversed(found)]


def first_kept(starts_: Sequence[int], tokens: Sequence[int], room_tokens: int) -> int:
    """Return the earliest start from which the turns before the question take at most the room.

    `tokens` are those of each message.
    """
    question = starts_[-1]
    return next(
        (start for start in starts_ if sum(tokens[start:question]) <= room_tokens), question
    )


def _needed(messages: Sequence[Mapping[str, Any]]) -> list[int]:
    """For each message the earliest it makes no sense without: itself, or a tool's caller."""
    needed = []
    # Some models count their calls anew in every turn: the last of a name is the one meant.
    callers: dict[str, int] = {}
    for place, message in enumerate(messages):
        callers.update((str(call.get("id")), place) for call in message.get("tool_calls") or ())
        answers = message["role"] == "tool"
        needed.append(callers.get(str(message.get("tool_call_id")), place) if answers else place)
    return needed
