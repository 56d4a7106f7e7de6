"""Places where a process can die, counted from 1: before and after each call of what is watched."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import libvirt  # type: ignore[import-untyped]

#: What changes something at libvirt, by class.
CHANGES: Mapping[str, Sequence[str]] = {
    "virConnect": ("defineXML", "networkDefineXML", "restoreFlags", "storagePoolDefineXML"),
    "virDomain": (
        *("create", "destroy", "resume", "saveFlags", "saveParams", "setAutostart", "suspend", "undefineFlags"),
    ),
    "virNetwork": ("create", "destroy", "setAutostart", "undefine"),
    "virStoragePool": ("build", "create", "createXML", "delete", "destroy", "refresh", "setAutostart", "undefine"),
    "virStorageVol": ("delete",),
}


class Points:
    """Counts the places where the run can die, and lets `act` happen at one of them."""

    def __init__(self, at: int, only: str, act: Callable[[str], None]) -> None:
        """`only`: of the points of this name alone, "" for all."""
        self.at, self.only, self.act, self.count = at, only, act, 0
        self._lock = threading.Lock()

    def pass_(self, name: str) -> None:
        with self._lock:
            self.count += self.only in ("", name)
            mine = self.count if self.only in ("", name) else 0
        if mine and mine == self.at:
            self.act(f"point {mine}: {name}")

    def around(self, owner: Any, name: str, what: str) -> None:
        """Makes a function of `owner` pass a point before and one after."""
        plain = getattr(owner, name)

        def passing(*args: Any, **rest: Any) -> Any:
            self.pass_(f"before {what}")
            result = plain(*args, **rest)
            self.pass_(f"after {what}")
            return result

        setattr(owner, name, passing)

    def around_libvirt(self) -> None:
        for owner, names in CHANGES.items():
            for name in names:
                self.around(getattr(libvirt, owner), name, f"{owner}.{name}")
