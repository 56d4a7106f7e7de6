"""The embedded engine's public face: one stack of one project, brought up, previewed, refreshed, destroyed."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from halab.embedded.engine import checkpoint, state, values
from halab.embedded.engine.checkpoint import Loaded, Sealer, Store
from halab.embedded.engine.cipher import Cipher
from halab.embedded.engine.config import Project, read_project, read_salt, read_stack, stack_file
from halab.embedded.engine.deployment import Deployment
from halab.embedded.engine.errors import StateError
from halab.embedded.engine.events import Diagnostic, Event, Summary
from halab.embedded.engine.journal import Journal
from halab.embedded.engine.lock import Lock, cli_locks
from halab.embedded.engine.monitor import Server
from halab.embedded.engine.program import Program
from halab.embedded.engine.providers import Providers
from halab.embedded.engine.run import Caller
from halab.embedded.engine.sweep import Destroy, Refresh
from halab.embedded.engine.targets import Targets
from halab.embedded.provider import Provider


def _ignore(_: Event) -> None:
    return None


class Engine:
    """One stack. State lives in `state_dir`/<project>/<stack>.json, its lock and backup beside it.

    `providers` maps package names to factories; `parallel` bounds provider operations at once; `on_event` is called
    from many threads, one call at a time; `python` runs the program with `env` added to the environment.

    Raises (from every method): ConfigError, PassphraseError, StateError, and for those that write LockedError.
    Failed resources do not raise: they are the summary's `failures`.
    """

    def __init__(
        self,
        project_dir: Path,
        stack: str,
        state_dir: Path,
        passphrase: str,
        providers: Mapping[str, Callable[[], Provider]],
        *,
        parallel: int = 64,
        on_event: Callable[[Event], None] = _ignore,
        python: str = sys.executable,
        env: Mapping[str, str] | None = None,
    ) -> None:
        self._project: Project = read_project(project_dir.resolve())
        self._stack = stack
        self._passphrase = passphrase
        self._factories = providers
        self._parallel = parallel
        self._on_event = on_event
        self._python = python
        self._env = dict(env or {})
        self.state_file = state_dir.resolve() / self._project.name / f"{stack}.json"
        self._lock = Lock(
            self.state_file.with_suffix(".lock"),
            lambda text: on_event(Diagnostic("warning", text)),
            cli_locks(self.state_file),
        )
        self._draining = threading.Event()
        self._aborting = threading.Event()
        self._caller = Caller(on_event, parallel, self._project.root, self._draining, self._aborting)
        self._program: Program | None = None

    def preview(self, *, target: Sequence[str] = (), replace: Sequence[str] = ()) -> Summary:
        """What `up` would do. Takes no lock and changes nothing on disk."""
        with self._cancellable():
            return self._deploy(target, replace, continue_on_error=True, dry_run=True)

    def up(
        self,
        *,
        target: Sequence[str] = (),
        replace: Sequence[str] = (),
        continue_on_error: bool = True,
        refresh: bool = False,
    ) -> Summary:
        """Runs the program and makes the world so. A failure stops what depends on it, or with
        continue_on_error=False everything; then nothing is deleted. What `replace` names is replaced even if nothing
        of it has changed (`pulumi up --replace`)."""
        with self._cancellable(), self._lock_held():
            before = self._refresh() if refresh else None
            if before is not None and not before.ok:
                return before
            done = self._deploy(target, replace, continue_on_error=continue_on_error, dry_run=False)
            return done if before is None else _joined(before, done)

    def refresh(self) -> Summary:
        """Reads every resource and takes over what is found."""
        with self._cancellable(), self._lock_held():
            return self._refresh()

    def destroy(self, *, continue_on_error: bool = True) -> Summary:
        """Deletes every resource in reverse order, without running the program."""
        with self._cancellable(), self._lock_held():
            started = time.monotonic()
            loaded, sealer, store = self._load()
            providers = self._providers(loaded)
            journal = Journal(loaded, store, sealer)
            run = Destroy(journal, providers, self._caller)
            try:
                run.run(continue_on_error=continue_on_error)
            finally:
                self._close(providers)
            return run.summary(started, {})

    def outputs(self, *, show_secrets: bool = False) -> dict[str, Any]:
        """The stack's outputs, secrets masked unless asked for; {} before the first up."""
        loaded, _, _ = self._load()
        stack = next((r for r in loaded.resources if r.type == state.STACK_TYPE), None)
        shown: dict[str, Any] = values.for_display(stack.outputs if stack else {}, show_secrets=show_secrets)
        return shown

    def export(self, *, show_secrets: bool = False) -> dict[str, Any]:
        """The state as `pulumi stack export` prints it."""
        loaded, sealer, _ = self._load()

        def closer(urn: str) -> Callable[[str], dict[str, str]]:
            return (lambda text: {"plaintext": text}) if show_secrets else sealer.close(urn)

        deployment: dict[str, Any] = {
            "manifest": {"time": checkpoint.now(), "magic": "", "version": ""},
            "secrets_providers": {"type": "passphrase", "state": {"salt": sealer.cipher.salt}},
            "resources": [state.to_json(r, closer(r.urn)) for r in loaded.resources],
            "metadata": {},
        }
        if loaded.pending:
            deployment["pending_operations"] = [
                {"resource": state.to_json(r, closer(r.urn)), "type": kind} for kind, r in loaded.pending
            ]
        return {"version": checkpoint.VERSION, "deployment": deployment}

    def import_(self, checkpoint_: dict[str, Any]) -> None:
        """Replaces the state by an export, of this engine or of the Pulumi CLI. The old state becomes the backup.

        Raises: StateError when it is inconsistent or belongs to another stack, PassphraseError when its secrets
            were encrypted with another passphrase; then the old state stays.
        """
        with self._lock_held():
            sealer, store = self._importing()
            try:
                deployment = checkpoint.deployment_of(checkpoint_)
                salt = checkpoint.salt_of(deployment)
                cipher = Cipher.open(self._passphrase, salt, "the imported checkpoint") if salt else None
                loaded = checkpoint.decode(deployment, self._project.root, sealer, cipher)
                self._check_owner(loaded)
            except (StateError, KeyError, TypeError, ValueError) as error:
                raise StateError(f"the imported checkpoint is refused: {error}") from error
            store.write(sealer, loaded.resources, loaded.pending)

    def _importing(self) -> tuple[Sealer, Store]:
        """Where an import goes: it may replace a damaged state."""
        try:
            _, sealer, store = self._load()
        except StateError:
            return Sealer(self._new_cipher()), self._store()
        return sealer, store

    def _check_owner(self, loaded: Loaded) -> None:
        prefix = f"urn:pulumi:{self._stack}::{self._project.name}::"
        for resource in loaded.resources:
            if not resource.urn.startswith(prefix):
                raise StateError(f"{resource.urn} belongs to another stack than {self._project.name}/{self._stack}")

    def cancel(self) -> None:
        """The first call lets running operations finish and starts no other; the second asks those to give up."""
        if self._draining.is_set():
            self._aborting.set()
            if self._program is not None:
                self._program.kill()
        self._draining.set()

    # Runs.

    @contextmanager
    def _cancellable(self) -> Iterator[None]:
        """A cancel holds for one run: the one under way, or the next."""
        try:
            yield
        finally:
            self._draining.clear()
            self._aborting.clear()

    @contextmanager
    def _lock_held(self) -> Iterator[None]:
        self._lock.acquire()
        try:
            yield
        finally:
            self._lock.release()

    def _deploy(
        self, target: Sequence[str], replace: Sequence[str], *, continue_on_error: bool, dry_run: bool
    ) -> Summary:
        started = time.monotonic()
        # The program spends its first moments importing the SDK: meanwhile the state is read and the key derived.
        program = Program(self._project, self._python, self._env, lambda line: self._on_event(Diagnostic("info", line)))
        self._program = program
        try:
            loaded, sealer, store = self._load()
            config = read_stack(self._project, self._stack, self._config_decrypter(sealer))
            providers = self._providers(loaded)
            journal = Journal(loaded, None if dry_run else store, sealer)
            run = Deployment(
                journal,
                providers,
                self._caller,
                stack=self._stack,
                project=self._project.name,
                config=config.values,
                dry_run=dry_run,
                continue_on_error=continue_on_error,
                targets=Targets(target),
                replaced=Targets(replace),
            )
            journal.settle(("updating", "deleting", "reading"))
            server = Server(run)
            try:
                program.start(
                    {
                        "project": self._project.name,
                        "stack": self._stack,
                        "root": str(self._project.root),
                        "parallel": self._parallel,
                        "dry_run": dry_run,
                        "address": server.address,
                        "config": dict(config.values),
                        "secret_keys": sorted(config.secret_keys),
                    }
                )
                run.program_ended(program.wait())
            finally:
                run.closed.set()
                program.kill()
                server.stop()
                self._close(providers)
            journal.commit()
            return run.summary(started, values.for_display(run.outputs()))
        finally:
            program.kill()
            self._program = None

    def _refresh(self) -> Summary:
        started = time.monotonic()
        loaded, sealer, store = self._load()
        providers = self._providers(loaded)
        journal = Journal(loaded, store, sealer)
        run = Refresh(journal, providers, self._caller)
        try:
            run.run()
        finally:
            self._close(providers)
        return run.summary(started, {})

    # What a run stands on.

    def _load(self) -> tuple[Loaded, Sealer, Store]:
        store = self._store()
        deployment = store.read()
        if deployment is None:
            return Loaded(), Sealer(self._new_cipher()), store
        try:
            salt = checkpoint.salt_of(deployment)
            cipher = Cipher.open(self._passphrase, salt, str(self.state_file)) if salt else self._new_cipher()
            sealer = Sealer(cipher)
            return checkpoint.decode(deployment, self._project.root, sealer), sealer, store
        except (StateError, KeyError, TypeError, ValueError) as error:
            raise store.damaged(f"{error}") from error

    def _store(self) -> Store:
        qualified = f"organization/{self._project.name}/{self._stack}"
        return Store(self.state_file, qualified, self._project.root)

    def _new_cipher(self) -> Cipher:
        """The cipher of the stack's configuration file when it has a salt, else a new one."""
        salt = read_salt(self._project, self._stack)
        if salt:
            return Cipher.open(self._passphrase, salt, str(stack_file(self._project, self._stack)))
        return Cipher.new(self._passphrase)

    def _config_decrypter(self, sealer: Sealer) -> Callable[[str], str]:
        def decrypt(text: str) -> str:
            salt = read_salt(self._project, self._stack)
            if not salt or salt == sealer.cipher.salt:
                return sealer.cipher.decrypt(text)
            return Cipher.open(self._passphrase, salt, str(stack_file(self._project, self._stack))).decrypt(text)

        return decrypt

    def _providers(self, loaded: Loaded) -> Providers:
        return Providers(self._factories, loaded.resources, self._project.root)

    def _close(self, providers: Providers) -> None:
        try:
            providers.close()
        except Exception as error:
            self._on_event(Diagnostic("warning", f"closing a provider failed: {error}"))


def _joined(first: Summary, second: Summary) -> Summary:
    """The summary of a refresh and the up that followed it."""
    steps = (*(step for step in first.steps if step[0] != "same"), *second.steps)
    counts = dict(second.counts)
    for op, _, _ in first.steps:
        if op != "same":
            counts[op] = counts.get(op, 0) + 1
    return Summary(counts, steps, second.failures, first.seconds + second.seconds, second.cancelled, second.outputs)


__all__ = ["Engine"]
