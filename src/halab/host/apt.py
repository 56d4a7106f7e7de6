"""APT sources, read and derived: pure, apart from `read_sources`, which reads the files of one directory.

Formats: sources.list(5), both the one-line style and deb822 (`*.sources`).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

_ONE_LINE = re.compile(r"^deb\s+(?:\[(?P<options>[^\]]*)\]\s+)?(?P<uri>\S+)\s+(?P<suite>\S+)\s*(?P<components>[^#]*)")


@dataclass(frozen=True, slots=True)
class Source:
    """One binary archive: a mirror, a suite, its components; `signed_by` is a key file's path or an embedded key."""

    uri: str
    suite: str
    components: tuple[str, ...]
    signed_by: str | None = None
    options: tuple[tuple[str, str], ...] = field(default=())


def parse_one_line(text: str) -> list[Source]:
    """The enabled `deb` lines of a `.list` file. `deb-src`, comments and malformed lines are passed over."""
    found = []
    for line in text.splitlines():
        match = _ONE_LINE.match(line.strip())
        if match is None:
            continue
        pairs = (word.split("=", 1) for word in (match["options"] or "").split() if "=" in word)
        options = {key.lower(): value for key, value in pairs}
        signed_by = options.pop("signed-by", None)
        found.append(
            Source(
                uri=match["uri"],
                suite=match["suite"],
                components=tuple(match["components"].split()),
                signed_by=signed_by,
                options=tuple(sorted(options.items())),
            )
        )
    return found


def parse_deb822(text: str) -> list[Source]:
    """The enabled binary archives of a `.sources` file, one per URI and suite."""
    found = []
    for stanza in _stanzas(text):
        if stanza.get("enabled", "yes").lower() in {"no", "false", "off", "0"}:
            continue
        if "deb" not in stanza.get("types", "deb").split():
            continue
        options = tuple(
            (key, value)
            for key, value in sorted(stanza.items())
            if key not in {"types", "uris", "suites", "components", "signed-by", "enabled"} and not key.startswith("x-")
        )
        found += [
            Source(uri, suite, tuple(stanza.get("components", "").split()), stanza.get("signed-by"), options)
            for uri in stanza.get("uris", "").split()
            for suite in stanza.get("suites", "").split()
        ]
    return found


def _stanzas(text: str) -> Iterator[dict[str, str]]:
    stanza: dict[str, str] = {}
    key = ""
    for line in text.splitlines():
        if line.startswith("#"):
            continue
        if not line.strip():
            if stanza:
                yield stanza
            stanza, key = {}, ""
        elif line[0].isspace() and key:
            stanza[key] += "\n" + line.strip()
        elif ":" in line:
            key, value = line.split(":", 1)
            key = key.strip().lower()
            stanza[key] = value.strip()
    if stanza:
        yield stanza


def read_sources(apt: Path = Path("/etc/apt")) -> list[Source]:
    """Every enabled binary archive of this host, in apt's own order of files."""
    found: list[Source] = []
    main = apt / "sources.list"
    if main.is_file():
        found += parse_one_line(main.read_text(errors="replace"))
    for path in sorted((apt / "sources.list.d").glob("*")):
        if path.suffix == ".list":
            found += parse_one_line(path.read_text(errors="replace"))
        elif path.suffix == ".sources":
            found += parse_deb822(path.read_text(errors="replace"))
    return found


def backports(sources: list[Source], codename: str) -> Source | None:
    """The backports archive beside the host's own `codename` main archive: same mirror, same key; None without one."""
    for source in sources:
        if source.suite == codename and "main" in source.components:
            return Source(source.uri, f"{codename}-backports", ("main",), source.signed_by, source.options)
    return None


def has_backports(sources: list[Source], codename: str) -> bool:
    return any(source.suite == f"{codename}-backports" and "main" in source.components for source in sources)


def render_deb822(source: Source) -> str:
    """The text of a `.sources` file for one archive."""
    lines = ["Types: deb", f"URIs: {source.uri}", f"Suites: {source.suite}"]
    if source.components:
        lines.append("Components: " + " ".join(source.components))
    if source.signed_by:
        lines.append("Signed-By: " + _folded(source.signed_by))
    lines += [f"{_field(key)}: {_folded(value)}" for key, value in source.options]
    return "\n".join(lines) + "\n"


def _field(key: str) -> str:
    names = {"arch": "Architectures", "lang": "Languages", "target": "Targets"}
    return names.get(key, "-".join(part.capitalize() for part in key.split("-")))


def _folded(value: str) -> str:
    first, *rest = value.split("\n")
    return "\n".join([first, *(" " + line for line in rest)])


def version_tuple(text: str) -> tuple[int, ...]:
    """The leading dotted numbers of a version: "1:10.0.2+ds-1" and "QEMU emulator version 10.0.2" give (10, 0, 2)."""
    match = re.search(r"(?:^|\s)(?:\d+:)?(\d+(?:\.\d+)*)", text)
    return tuple(int(part) for part in match[1].split(".")) if match else ()
