"""What the images are made of, and building them with buildah, in storage of the cache's own."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import re
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import config
import runtime
import tools
from process import exclusive, retry, run, write

STORE = config.CACHE / "images"
STORAGE = STORE / "storage"
TEMPORARY = STORE / "temporary"
# (A mount of its own over the storage would keep hard links from crossing its border.)
STORAGE_OPTION = "overlay.skip_mount_home=true"
BASE_PACKAGES = "python3,python3-venv,ca-certificates"
BASE_SUITE = "trixie"
# Settings of pip and uv by which packages are found here: they come to the build as a secret, not into the image.
PASSED_ON = re.compile(r"(PIP|UV)_(?!FIND_LINKS|CERT|CACHE_DIR)|.*_proxy$", re.I)
CERTIFICATES = Path("/etc/ssl/certs/ca-certificates.crt")


@dataclass(frozen=True)
class Image:
    """One image to build: its name without tag, the Containerfile, its context, and the files that make its layers."""

    name: str
    containerfile: Path
    context: Path
    dependencies: tuple[Path, ...] = ()
    code: tuple[Path, ...] = ()
    on_base: bool = False
    tag: str = ""

    @property
    def short(self) -> str:
        """Return the name without the registry: `worker`."""
        return self.name.rpartition("/")[2]

    @property
    def reference(self) -> str:
        """Return the full reference; the tag, unless fixed, is a digest of everything that goes in."""
        return f"{self.name}:{self.tag or _digest([self.containerfile, *self.dependencies, *self.code], self.base)}"

    @property
    def base(self) -> str:
        return base_name() if self.on_base else ""


def _digest(paths: Iterable[Path], base: str) -> str:
    """Return a digest of files and folders of Python code, by content."""
    state = hashlib.sha256(base.encode())
    for path in paths:
        for file in sorted(path.rglob("*")) if path.is_dir() else [path]:
            if file.is_file() and "__pycache__" not in file.parts:
                state.update(
                    f"{file.relative_to(path.parent)}\n".encode() + hashlib.sha256(file.read_bytes()).digest()
                )
    return state.hexdigest()[:12]


def _ours(name: str) -> Image:
    requirements = config.ROOT / "requirements" / f"{name}.txt"
    code = config.ROOT / "operator" / "distillery"
    containerfile = config.ROOT / "images" / name / "Containerfile"
    return Image(
        f"localhost/distillery/{name}", containerfile, config.ROOT, (requirements,), (code,), on_base=True
    )


WORKER = _ours("worker")
OPERATOR = _ours("operator")


def pause() -> Image:
    """Return the image of every pod's sandbox."""
    containerfile = config.HERE / "pause" / "Containerfile"
    return Image(runtime.SANDBOX_NAME, containerfile, tools.pause(), tag=runtime.SANDBOX_TAG)


def kuberay() -> Image:
    """Return the image of the KubeRay operator: its static program and nothing else."""
    program = tools.binary(tools.KUBERAY, "kuberay")
    return Image(
        "localhost/distillery/kuberay", config.HERE / "kuberay" / "Containerfile", program.parent, (program,)
    )


def base_name() -> str:
    """Return the name of the base image: a digest of how it is made."""
    key = hashlib.sha256(f"{BASE_SUITE} {BASE_PACKAGES} 1".encode()).hexdigest()[:8]
    return f"localhost/distillery-base:{BASE_SUITE}-{key}"


def buildah(*words: str | Path, check: bool = True) -> str:
    """Run buildah on the cache's own storage."""
    storage: list[str | Path] = ["--root", STORAGE, "--runroot", STORE / "run", "--storage-driver", "overlay"]
    storage += ["--storage-opt", STORAGE_OPTION]
    return run("buildah", *storage, *words, check=check, env=environment()).stdout


def environment() -> dict[str, str]:
    """Return the environment of buildah and skopeo, with a folder for their passing gigabytes that can be cleared."""
    TEMPORARY.mkdir(parents=True, exist_ok=True)
    return {**os.environ, "TMPDIR": str(TEMPORARY)}


def has(reference: str) -> bool:
    """Tell whether buildah's storage has an image."""
    return bool(buildah("images", "--quiet", reference, check=False).strip())


def build_base() -> str:
    """Return the name of the base image, made by debootstrap straight into a working container."""
    name = base_name()
    if not has(name):
        retry(lambda: _debootstrap(name))
    return name


def _debootstrap(name: str) -> None:
    container = buildah("from", "scratch").strip()
    try:
        root = Path(buildah("mount", container).strip())
        run("debootstrap", "--variant=minbase", f"--include={BASE_PACKAGES}", BASE_SUITE, root)
        for waste in (
            "var/cache/apt",
            "var/lib/apt/lists",
            "usr/share/doc",
            "usr/share/locale",
            "usr/share/man",
        ):
            shutil.rmtree(root / waste, ignore_errors=True)
        buildah("umount", container)
        buildah("commit", "--quiet", container, name)
    finally:
        buildah("rm", container, check=False)


@contextmanager
def _build_environment() -> Iterator[list[str | Path]]:
    """Yield the options that let a build reach packages here: settings as a secret file, certificates as a mount."""
    passed = {name: value for name, value in os.environ.items() if PASSED_ON.match(name)}
    if CERTIFICATES.exists():
        passed |= {"SSL_CERT_FILE": str(CERTIFICATES), "PIP_CERT": str(CERTIFICATES)}
    if "PIP_INDEX_URL" in passed:
        passed.setdefault("UV_DEFAULT_INDEX", passed["PIP_INDEX_URL"])
    with tempfile.NamedTemporaryFile("w", prefix="distillery-build-") as file:
        file.writelines(f"export {name}='{value}'\n" for name, value in passed.items() if "'" not in value)
        file.flush()
        yield [
            "--secret",
            f"id=environment,src={file.name}",
            "--volume",
            f"{CERTIFICATES.parent}:{CERTIFICATES.parent}:ro",
        ]


def build_lock(short: str) -> Path:
    """Return the lock that builders of one image hold."""
    return STORE / f"build-{short}.lock"


@contextmanager
def _builder() -> Iterator[None]:
    """Be one of those who build; whoever finds no other clears what interrupted builds left, gigabytes each."""
    with (STORE / "builders.lock").open("w") as file:
        with contextlib.suppress(BlockingIOError):
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            buildah("rm", "--all", check=False)
            shutil.rmtree(TEMPORARY, ignore_errors=True)
        fcntl.flock(file, fcntl.LOCK_SH)
        yield


def build(image: Image) -> str:
    """Build an image unless buildah's storage has it; return its reference."""
    with exclusive(build_lock(image.short)), _builder():
        reference = image.reference
        if not has(reference):
            _build(image, reference)
    return reference


def _build(image: Image, reference: str) -> None:
    ignored = write(STORE / "ignore", "**/__pycache__\n")
    words: list[str | Path] = [
        "--isolation",
        "chroot",
        "--layers",
        "--force-rm",
        "--quiet",
        "-f",
        image.containerfile,
    ]
    words += ["--ignorefile", ignored, "--tag", reference]
    if _dependencies_changed(image):
        _forget(image, other_than="")
    with _build_environment() as options:
        if image.on_base:
            words += ["--build-arg", f"BASE={build_base()}", *options]
        retry(lambda: buildah("build", *words, image.context))
    _forget(image, other_than=reference)


def _dependencies_changed(image: Image) -> bool:
    """Tell whether an image's gigabytes are to be made anew: then the old ones go first."""
    note = STORE / f"{image.short}.dependencies"
    now = _digest([image.containerfile, *image.dependencies], image.base)
    before = note.read_text() if note.exists() else now
    write(note, now)
    return before != now


def _forget(image: Image, other_than: str) -> None:
    """Remove an image's builds from buildah's storage (layers that the one to keep has stay)."""
    names = buildah(
        "images", "--filter", f"reference={image.name}", "--format", "{{.Name}}:{{.Tag}}", check=False
    )
    for name in names.split():
        if name != other_than:
            buildah("rmi", name, check=False)
