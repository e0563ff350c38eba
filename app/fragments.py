"""Parts of pages that are kept as text under all that they show, so that none of them can be out of date.

Most of what a page lists has ended and looks as it did a moment ago. To put its text together anew takes longer than
everything else that the page asks for.
"""

from collections import OrderedDict
from collections.abc import Callable, Hashable
from threading import Lock

from markupsafe import Markup

MOST_CHARACTERS = 16_000_000  # in one process; some 2,000 requests for pictures with eight each


class Fragments:
    """The least recently used go first. For any number of threads."""

    def __init__(self, most_characters: int = MOST_CHARACTERS):
        self.most_characters = most_characters
        self._kept: OrderedDict[Hashable, Markup] = OrderedDict()
        self._characters = 0
        self._lock = Lock()

    def get(self, shows: Hashable, make: Callable[[], Markup]) -> Markup:
        """shows: everything that the part is made of, in values that are equal only where the text is.

        Two threads that miss the same part make it twice.
        """
        with self._lock:
            if (known := self._kept.get(shows)) is not None:
                self._kept.move_to_end(shows)
                return known
        made = make()
        with self._lock:
            if shows not in self._kept:
                self._kept[shows] = made
                self._characters += len(made)
            while self._characters > self.most_characters:
                self._characters -= len(self._kept.popitem(last=False)[1])
        return made
