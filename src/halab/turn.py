"""Which architecture is tried beside the default one, and whether there is time for it. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date

from components.variant import Variant
from halab.errors import RefusedError
from halab.workspace import BUILDABLE

#: Environment: the architectures to try (names with commas between, or "all"), and when the tests began (seconds since
#: 1970).
CHOICE, BEGAN = "HALAB_TEST_VARIANT", "HALAB_TEST_BEGAN"
ALL = "all"
#: Minutes that all tests may take together, and that one more architecture needs of them.
LIMIT, NEED = 58.0, 16.0


def of_day(day: date) -> Variant:
    """The architecture whose turn it is: all that `up` builds but the default, which is always tried, one a day."""
    others = [variant for variant in Variant if variant in BUILDABLE and variant is not Variant.COLLAPSED]
    return others[day.toordinal() % len(others)]


def chosen(environment: Mapping[str, str], day: date) -> tuple[Variant, ...]:
    """What is to be tried. Raises RefusedError for a name that is none, or that `up` does not build yet."""
    asked = environment.get(CHOICE, "")
    if not asked:
        return (of_day(day),)
    if asked == ALL:
        return tuple(variant for variant in Variant if variant in BUILDABLE)
    names = [name.strip() for name in asked.split(",")]
    for name in names:
        if name not in BUILDABLE:
            raise RefusedError(f"{CHOICE}: {name!r}: there are {', '.join(sorted(BUILDABLE))}, and {ALL}")
    return tuple(Variant(name) for name in names)


def budget(environment: Mapping[str, str], now: float) -> tuple[float, str]:
    """Minutes that are left for one more architecture, and why it is left out, "" where it is not.

    Without a begin, or where all are asked for, there is no limit: infinity.
    """
    if environment.get(CHOICE) == ALL or BEGAN not in environment:
        return float("inf"), ""
    left = LIMIT - (now - float(environment[BEGAN])) / 60
    short = f"{left:.0f} min of {LIMIT:.0f} are left, and it needs {NEED:.0f}; ./halab test --all-variants has no limit"
    return left, short if left < NEED else ""
