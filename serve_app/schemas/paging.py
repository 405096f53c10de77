"""The JSON of lists, a page at a time, and of a deletion: OpenAI's and our own."""

from __future__ import annotations

from typing import Annotated, Any, Generic, Literal, Self, TypeVar

from pydantic import BaseModel, Field

Order = Literal["asc", "desc"]
PageSize = Annotated[int, Field(ge=1, le=100)]


class Listed(BaseModel):
    """What can be listed: it has an id to go on from."""

    id: str


T = TypeVar("T", bound=Listed)


class Paged(BaseModel, Generic[T]):
    """One page; pass `last_id` as `after` for the following one."""

    object: Literal["list"] = "list"
    data: list[T]
    first_id: str | None
    last_id: str | None
    has_more: bool

    @classmethod
    def of(cls, data: list[T], *, more: bool) -> Self:
        """Make the page of what was found."""
        first, last = (data[0].id, data[-1].id) if data else (None, None)
        return cls(data=data, first_id=first, last_id=last, has_more=more)


Item = TypeVar("Item", bound=BaseModel)


class Listing(BaseModel, Generic[Item]):
    """One page of our own lists; pass `next_after` as `after` for the following one."""

    object: Literal["list"] = "list"
    data: list[Item]
    has_more: bool
    next_after: str | None

    @classmethod
    def of(cls, data: list[Item], next_after: str | None) -> Self:
        """Make the page of what was found."""
        return cls(data=data, has_more=next_after is not None, next_after=next_after)


class Deleted(BaseModel):
    """OpenAI's answer to a deletion."""

    id: str
    object: str
    deleted: Literal[True] = True


def page_example(one: dict[str, Any]) -> dict[str, Any]:
    """Return the example of a page that holds one item."""
    ids = {"first_id": one["id"], "last_id": one["id"]}
    return {"object": "list", "data": [one], **ids, "has_more": False}


def listing_example(one: dict[str, Any]) -> dict[str, Any]:
    """Return the example of one of our own pages that holds one item."""
    return {"object": "list", "data": [one], "has_more": True, "next_after": one["id"]}
