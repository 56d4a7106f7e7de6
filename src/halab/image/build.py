"""Build images: mmdebstrap and apt in namespaces of their own, a cache of layers and packages, progress as it goes."""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TextIO

from halab.image import cache, spec
from halab.image.cache import Image
from halab.image.kernel import vmlinux

TOOLS = ("mmdebstrap", "unshare", "qemu-img", "mke2fs", "zstd", "tar")
#: Share of the whole at which each stage of one image ends, from measured builds.
_BASE_END, _PACKAGES_END = 0.25, 0.75


@dataclass(frozen=True, slots=True)
class Progress:
    """Where the build of one image stands: `done` goes from 0 to 1, `text` is a few words for a progress bar."""

    image: str
    done: float
    text: str


class ImageBuildError(RuntimeError):
    """A build failed; the message is one line with what failed, what was seen and where the log is."""


def missing_tools() -> list[str]:
    """Programs of TOOLS that are not on PATH."""
    return [tool for tool in TOOLS if shutil.which(tool) is None]


def build(
    names: Iterable[str] = spec.NAMES,
    on_progress: Callable[[Progress], None] = lambda _: None,
    *,
    fresh: bool = False,
) -> dict[str, Image]:
    """The named images, built where today's sources are not in the cache; `fresh` builds them from today's packages.

    `on_progress` is called from several threads. Raises ImageBuildError, ValueError for an unknown name.
    """
    wanted = list(dict.fromkeys(names))
    for name in wanted:
        if name not in spec.NAMES:
            raise ValueError(f"image {name!r}: one of {', '.join(spec.NAMES)}")
    root = cache.cache_root()
    images = {} if fresh else {name: image for name in wanted if (image := Image.cached(name, root))}
    missing = [name for name in wanted if name not in images]
    for name in images:
        on_progress(Progress(name, 1.0, "cached"))
    if not missing:
        return images
    if absent := missing_tools():
        raise ImageBuildError(f"image build: {', '.join(absent)} not found on PATH; run ./halab doctor")

    def waits() -> None:
        for name in missing:
            on_progress(Progress(name, 0.0, "another build runs"))

    with _locked(root, waits):
        for killed in (root / "work").glob("*"):
            _remove(killed)
        # Another build may have ended while this one waited.
        images |= {} if fresh else {name: image for name in missing if (image := Image.cached(name, root))}
        missing = [name for name in missing if name not in images]
        builder = _Builder(root, on_progress, fresh)
        if missing:
            builder.base(missing)
        with ThreadPoolExecutor(max_workers=max(1, min(len(missing), os.cpu_count() or 1))) as pool:
            built = dict(zip(missing, pool.map(builder.image, missing), strict=True))
        cache.learn_seconds(builder.seconds, root)
    return {name: (images | built)[name] for name in wanted}


@dataclass(frozen=True)
class _Builder:
    root: Path
    on_progress: Callable[[Progress], None]
    fresh: bool
    #: What each part took, by its label in `cache.parts`.
    seconds: dict[str, float] = field(default_factory=dict)

    def base(self, waiting: list[str]) -> None:
        target = cache.base_layer(self.root)
        if target.exists() and not self.fresh:
            return

        def report(line: str) -> None:
            if line.startswith("I: "):
                for name in waiting:
                    self.on_progress(Progress(name, _BASE_END / 2, f"base: {line[3:].strip()}"))

        environment = {
            "SUITE": spec.SUITE,
            "PACKAGES": ",".join(spec.packages("base")),
            "MIRROR": os.environ.get("HALAB_MIRROR", ""),
        }
        with self._timed("base"):
            self._layer("base", "layer-base.sh", environment, target, report)

    def image(self, name: str) -> Image:
        layer = cache.packages_layer(self.root, name)
        if self.fresh or not layer.exists():
            environment = {
                "BASE": str(cache.base_layer(self.root)),
                "PACKAGES": " ".join(spec.packages(name)),
            }
            with self._timed(f"{name} packages"):
                self._layer(name, "layer-install.sh", environment, layer, lambda line: self._apt_status(name, line))
        self.on_progress(Progress(name, _PACKAGES_END, "assembling"))
        with self._timed(f"{name} image"):
            return self._assemble(name, layer)

    @contextmanager
    def _timed(self, part: str) -> Iterator[None]:
        began = time.monotonic()
        yield
        self.seconds[part] = time.monotonic() - began

    def _apt_status(self, name: str, line: str) -> None:
        """apt's status lines: `dlstatus:n:percent:text` while fetching, `pmstatus:package:percent:text` installing."""
        fields = line.split(":", 3)
        if len(fields) != 4 or fields[0] not in ("dlstatus", "pmstatus"):
            return
        try:
            percent = float(fields[2])
        except ValueError:
            return
        half = (_PACKAGES_END - _BASE_END) / 2
        start = _BASE_END if fields[0] == "dlstatus" else _BASE_END + half
        self.on_progress(Progress(name, start + half * percent / 100, fields[3].strip()))

    def _layer(
        self, name: str, script: str, environment: Mapping[str, str], target: Path, on_line: Callable[[str], None]
    ) -> None:
        debs = self.root / "debs"
        debs.mkdir(parents=True, exist_ok=True)
        target.parent.mkdir(parents=True, exist_ok=True)
        with self._work() as work:
            # mmdebstrap tells the format from the ending.
            partial = target.with_name(f".{target.name.removesuffix('.tar.zst')}.partial.tar.zst")
            partial.unlink(missing_ok=True)
            self._run(name, script, work, {**environment, "DEBS": str(debs), "OUT": str(partial)}, on_line)
            partial.rename(target)

    def _assemble(self, name: str, layer: Path) -> Image:
        # Once: the sources may be edited while the build runs.
        key = spec.image_key(name)
        target = cache.image_directory(name, self.root)
        partial = target.parent / f".{target.name}.partial"
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        with self._work() as work:
            environment = {"LAYER": str(layer), "NAME": name, "SIZE": str(spec.ROOT_SIZE), "OUT": str(partial)}
            self._run(name, "assemble.sh", work, environment, lambda _: None)
        self.on_progress(Progress(name, 0.95, "checksums"))
        bzimage = partial / "vmlinuz"
        (partial / "vmlinux").write_bytes(vmlinux(bzimage.read_bytes()))
        bzimage.unlink()
        listing = partial / "packages"
        versions = dict(line.split("\t", 1) for line in listing.read_text().splitlines())
        listing.unlink()
        cache.write_manifest(partial, name, key, versions)
        if target.exists():
            shutil.rmtree(target)
        partial.rename(target)
        image = Image.load(target)
        if image is None:
            raise ImageBuildError(f"image {name}: {cache.damage(target)} right after the build; is the disk full?")
        self.on_progress(Progress(name, 1.0, "built"))
        return image

    @contextmanager
    def _work(self) -> Iterator[Path]:
        """A scratch directory on the cache's file system (packages are hard links), removed with its foreign owners."""
        top = self.root / "work"
        top.mkdir(parents=True, exist_ok=True)
        work = Path(tempfile.mkdtemp(dir=top))
        try:
            yield work
        finally:
            _remove(work)

    def _run(
        self, name: str, script: str, work: Path, environment: Mapping[str, str], on_line: Callable[[str], None]
    ) -> None:
        """One script of `images/`, its output to a log, its status lines (descriptor 3) and messages to `on_line`."""
        log = self.root / "logs" / f"image-{name}-{script.removesuffix('.sh')}.log"
        log.parent.mkdir(parents=True, exist_ok=True)
        read_end, write_end = os.pipe()
        command = ["sh", "-c", f'exec 3>&{write_end} {write_end}>&-; exec "$@"', "sh"]
        command += ["nice", "-n", "5", *_namespaces(), "sh", str(spec.SOURCES / script)]
        with log.open("w") as log_file, open(read_end, errors="replace") as status:
            process = subprocess.Popen(
                command,
                env={**os.environ, **environment, "WORK": str(work), "TMPDIR": str(work)},
                stdin=subprocess.DEVNULL,
                stdout=log_file,
                stderr=subprocess.PIPE,
                text=True,
                errors="replace",
                pass_fds=(write_end,),
            )
            os.close(write_end)

            def follow(lines: Iterable[str], kept: TextIO | None) -> None:
                """A script whose lines nobody reads any more would wait for that forever."""
                try:
                    for line in lines:
                        if kept is not None:
                            kept.write(line)
                            kept.flush()
                        on_line(line)
                except BaseException:
                    process.kill()
                    raise

            assert process.stderr is not None
            with ThreadPoolExecutor(1) as pool:
                reader = pool.submit(follow, status, None)
                follow(process.stderr, log_file)
                code = process.wait()
                reader.result()
        if code != 0:
            last = log.read_text(errors="replace").strip().splitlines()[-1:] or ["no output"]
            raise ImageBuildError(f"image {name}: {script} ended with {code}: {last[0]}; log {log}; then build again")


def _remove(work: Path) -> None:
    """A scratch directory, the owners of whose files may be others."""
    subprocess.run([*_namespaces(), "rm", "-rf", "--", str(work)], check=True)


def _namespaces() -> list[str]:
    """Mounts and processes of a build stay its own; without root, a user namespace with the user's subordinate ids."""
    command = ["unshare", "--mount", "--pid", "--fork", "--kill-child"]
    return command if os.geteuid() == 0 else [*command, "--user", "--map-root-user", "--map-auto"]


@contextmanager
def _locked(root: Path, on_wait: Callable[[], None]) -> Iterator[None]:
    root.mkdir(parents=True, exist_ok=True)
    with (root / "image-build.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            on_wait()
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield
