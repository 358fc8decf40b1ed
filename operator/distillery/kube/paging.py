"""Lists in pages: few bytes at a time, and of the objects only what the caller wants of them."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from distillery.kube.decoding import relieved
from distillery.kube.errors import Expired
from distillery.kube.resources import Resource
from distillery.kube.transport import JSON, MOST_BYTES, Request, TooLarge, TooSlow, Transport

PAGE = 500
MOST_OBJECTS = 1000
SCAN_PAGE = 100
"""Objects a page where a collection is read that is too large to be held; 500 RayJobs alone take 25 MB."""
PAGE_BYTES = 2 << 20
"""A page with more bytes is asked for again with fewer objects, down to one: somebody may have made hundreds of 1 MB,
and a megabyte can take 35 as Python's objects."""

Object = dict[str, Any]
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Page(Generic[T]):
    """One page of a list: views of its objects, how it goes on, and the version of the list."""

    items: list[T]
    more: str
    version: str


class PageSize:
    """How many objects of a collection to ask for: fewer after a page was too large or took too long, then more again.

    It is kept between lists, so that what failed once is asked for in smaller pages the next time.
    """

    def __init__(self) -> None:
        self._most = MOST_OBJECTS

    def of(self, wanted: int) -> int:
        """Return how many to ask for where `wanted` would be usual."""
        return min(wanted, self._most)

    def most_bytes(self, size: int) -> int:
        """Return how large a page may be; a single object may be as large as any answer."""
        return PAGE_BYTES if size > 1 else MOST_BYTES

    def shrink(self, size: int, error: TooLarge | TooSlow) -> None:
        """A page of `size` was too large or took too long. Raises: `error` if a smaller one is not worth a try now."""
        self._most = max(1, size // 4)
        if size == 1 or isinstance(error, TooSlow):
            raise error

    def grow(self, size: int) -> None:
        """A page of `size` was fine."""
        self._most = min(MOST_OBJECTS, max(self._most, size * 2))


class Listing:
    """One list of a collection, read in pages. `version` is its resourceVersion once it has been read."""

    def __init__(
        self,
        transport: Transport,
        resource: Resource,
        path: str,
        query: dict[str, str],
        sizes: PageSize | None = None,
    ) -> None:
        self._transport = transport
        self._resource = resource
        self._path = path
        self._query = query
        self._sizes = sizes or PageSize()
        self.version = ""

    async def pages(
        self, view: Callable[[Object], T], accept: str = JSON, size: int = PAGE
    ) -> AsyncGenerator[list[T], None]:
        """Yield what `view` makes of the objects, page by page; it must not fail.

        Raises: Expired if the collection is forgotten before its last page is read.
        """
        more = ""
        while True:
            asked = self._sizes.of(size)
            query = {**self._query, "limit": str(asked), **({"continue": more} if more else {})}
            request = Request("list", self._resource.plural, self._path, query, accept=accept)
            try:
                page = await self._transport.ask(request, self._page(view), self._sizes.most_bytes(asked))
            except (TooLarge, TooSlow) as error:
                self._sizes.shrink(asked, error)
                continue
            self._sizes.grow(asked)
            yield page.items
            more = page.more
            if not more:
                self.version = page.version
                return

    async def all(self) -> list[Object]:
        """Return all objects, however often the list has to be begun. Raises: Expired after three times."""
        for _ in range(2):
            try:
                return [item async for page in self.pages(_whole) for item in page]
            except Expired:
                continue
        return [item async for page in self.pages(_whole) for item in page]

    def _page(self, view: Callable[[Object], T]) -> Callable[[Any], Page[T]]:
        def viewed(item: Object) -> T:
            # Lists of built-in kinds leave these out of their items.
            item.setdefault("apiVersion", self._resource.api_version)
            item.setdefault("kind", self._resource.kind)
            return view(item)

        return lambda value: page_of(value, viewed)


def page_of(value: Any, view: Callable[[Object], T]) -> Page[T]:
    """Return the page that the answer to a list is. What in it is no object is left out.

    Raises: ValueError if it is no list.
    """
    if not isinstance(value, dict) or not isinstance(items := value.get("items", ""), list | None):
        raise ValueError("it is no list of objects")
    metadata = value.get("metadata")
    about = metadata if isinstance(metadata, dict) else {}
    more, version = about.get("continue"), about.get("resourceVersion")
    return Page(
        [view(relieved(item)) for item in items or () if isinstance(item, dict)],
        more if isinstance(more, str) else "",
        version if isinstance(version, str) else "",
    )


def _whole(item: Object) -> Object:
    return item
