"""The provider instances of one run, one per provider resource (`URN::id`)."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from halab.embedded.engine import state, values
from halab.embedded.engine.errors import StepError, UnsupportedError
from halab.embedded.engine.state import Resource
from halab.embedded.provider import Props, Provider


def config_of(inputs: Props) -> Props:
    """A provider resource's own configuration, without the engine's bookkeeping."""
    return {k: v for k, v in inputs.items() if k not in state.RESERVED_PROVIDER_KEYS and not k.startswith("__")}


class Providers:
    """Makes and configures providers; `known` are the provider resources of the state, loaded when first needed."""

    def __init__(self, factories: Mapping[str, Callable[[], Provider]], known: Iterable[Resource], root: Path) -> None:
        self._factories = factories
        self._known = {f"{r.urn}::{r.id}": r for r in known if state.is_provider(r.type)}
        self._root = root
        self._lock = threading.RLock()
        self._ready: dict[str, Provider] = {}
        self._checkers: dict[str, Provider] = {}
        self._all: list[Provider] = []

    def make(self, package: str) -> Provider:
        """A new, unconfigured instance.

        Raises: UnsupportedError when no provider serves the package.
        """
        factory = self._factories.get(package)
        if factory is None:
            have = ", ".join(sorted(self._factories)) or "none"
            raise UnsupportedError(f"the embedded engine has no provider for package {package!r} (it has: {have})")
        made = factory()
        with self._lock:
            self._all.append(made)
        return made

    def checker(self, package: str) -> Provider:
        """An unconfigured instance that checks provider configurations of a package."""
        with self._lock:
            if package not in self._checkers:
                self._checkers[package] = self.make(package)
            return self._checkers[package]

    def load(self, reference: str, package: str, inputs: Props) -> Provider:
        """Configures an instance and makes it the one behind `reference`; unknown configuration is left for later."""
        made = self.make(package)
        config = config_of(inputs)
        if not values.has_unknown(config):
            made.configure(values.for_provider(config, self._root))
        with self._lock:
            self._ready[reference] = made
        return made

    def knows(self, reference: str) -> bool:
        """Whether `get` would find the provider."""
        with self._lock:
            return reference in self._ready or reference in self._known

    def get(self, reference: str) -> Provider:
        """The instance behind a reference, made from the state when the program has not registered it.

        Raises: StepError when neither the program nor the state knows the provider.
        """
        with self._lock:
            if reference in self._ready:
                return self._ready[reference]
            resource = self._known.get(reference)
            if resource is None:
                raise StepError(f"unknown provider {reference}")
            return self.load(reference, state.package_of(resource.type), resource.inputs)

    def close(self) -> None:
        """Closes every instance; a failing close does not keep the others open."""
        failed: list[Exception] = []
        for provider in self._all:
            try:
                provider.close()
            except Exception as error:
                failed.append(error)
        if failed:
            raise failed[0]
