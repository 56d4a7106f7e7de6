"""The kernel command line survives the provider's reading it back."""

from __future__ import annotations

import pytest

from components.cmdline import EMULATED, GUEST, canonical


def as_the_provider_joins(maps: list[dict[str, str]]) -> str:
    words = [f"{key}={value}" if key != "_" else value for entry in maps for key, value in entry.items()]
    return " ".join(sorted(words))


def as_the_provider_reads(text: str) -> list[dict[str, str]]:
    """terraform-provider-libvirt 0.8.1, splitKernelCmdLine."""
    maps: list[dict[str, str]] = []
    current: dict[str, str] = {}
    flags: list[str] = []
    for word in text.split(" "):
        if "=" not in word:
            flags.append(word)
            continue
        key, value = word.split("=", 1)
        if key in current:
            maps.append(current)
            current = {}
        current[key] = value
    if current:
        maps.append(current)
    return [*maps, {"_": " ".join(flags)}] if flags else maps


@pytest.mark.parametrize(
    "arguments",
    [
        GUEST,
        (*GUEST, *EMULATED),
        ("console=tty0", "console=ttyS0", "quiet"),
        ("b=2", "a=1", "a=2", "a=3", "rw", "nokaslr"),
        ("root=UUID=1-2", "ro"),
        ("quiet",),
        ("a=1",),
    ],
)
def test_what_is_written_is_what_is_read_back(arguments: tuple[str, ...]) -> None:
    written = canonical(arguments)
    assert as_the_provider_reads(as_the_provider_joins(written)) == written
    assert sorted(as_the_provider_joins(written).split()) == sorted(arguments)


def test_the_serial_line_stays_the_last_console_and_so_the_first() -> None:
    assert as_the_provider_joins(canonical(["console=ttyS0", "console=tty0"])).endswith("console=ttyS0")


def test_no_arguments_are_no_maps() -> None:
    assert canonical([]) == []


@pytest.mark.parametrize("argument", ["", "a b", "a=1\n"])
def test_an_argument_is_one_word(argument: str) -> None:
    with pytest.raises(ValueError, match="one word"):
        canonical([argument])
