"""The kernel command line of a node, in the one shape that pulumi-libvirt reads back as it was written."""

from __future__ import annotations

from collections.abc import Iterable

#: boot-time.md: what a guest under emulation needs or gains by. `panic` reboots a node whose kernel died.
GUEST = (
    "root=/dev/vda",
    "rw",
    "console=ttyS0",
    "quiet",
    "loglevel=1",
    "net.ifnames=0",
    "mitigations=off",
    "random.trust_cpu=on",
    "nokaslr",
    "panic=10",
)
#: On a busy host an emulated guest can measure its TSC forty times too slow, and its time then runs away.
EMULATED = ("tsc=unstable", "clocksource=hpet")


def canonical(arguments: Iterable[str]) -> list[dict[str, str]]:
    """The `cmdlines` input for these arguments.

    The provider joins all entries, sorts them and reads them back as maps of key to value, a new map at each repeated
    key, then one last map of bare flags under "_": any other shape replaces the VM at every up (pulumi.md, A.4).
    Raises ValueError for an argument with a blank, which would come back as two.
    """
    given = list(arguments)
    for argument in given:
        if not argument or any(character.isspace() for character in argument):
            raise ValueError(f"kernel argument {argument!r}: one word is needed")
    flags = [argument for argument in given if "=" not in argument]
    words = " ".join(sorted([a for a in given if "=" in a] + ([" ".join(flags)] if flags else []))).split()
    maps: list[dict[str, str]] = []
    current: dict[str, str] = {}
    bare: list[str] = []
    for word in words:
        key, equals, value = word.partition("=")
        if not equals:
            bare.append(word)
            continue
        if key in current:
            maps.append(current)
            current = {}
        current[key] = value
    return [*maps, *([current] if current else []), *([{"_": " ".join(bare)}] if bare else [])]
