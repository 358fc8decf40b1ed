"""Build the images with buildah and give them to containerd, moving only the layers that it lacks.

The dependencies' layer has gigabytes. It lies in buildah's storage (to build on), and once more as an uncompressed
layer under `layers/`, an OCI layout that shares its large files with containerd's content store by hard links. Since
layers are uncompressed, a layer's name is known before it is written: a push finds what is there already.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import os
import re
import shutil
import tarfile
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import config
import runtime
from process import exclusive, retry, run

STORE = config.CACHE / "images"
LAYERS = STORE / "layers"
BASE_PACKAGES = "python3,python3-venv,ca-certificates"
BASE_SUITE = "bookworm"
MIRROR = "http://deb.debian.org/debian"
PASSED_ON = re.compile(r"(PIP|UV)_(?!FIND_LINKS|CERT|CACHE_DIR)|SSL_CERT|REQUESTS_CA|CURL_CA|.*_proxy$", re.I)
KEPT = 3
LAYOUT = b'{"imageLayoutVersion": "1.0.0"}'


@dataclass(frozen=True)
class Image:
    """One image to build: its name without tag, the Containerfile, its context, and what its tag depends on."""

    name: str
    containerfile: Path
    context: Path
    inputs: tuple[Path, ...]
    on_base: bool = True
    tag: str = ""

    @property
    def reference(self) -> str:
        """Return the full reference; the tag, unless fixed, is a digest of everything that goes in."""
        if self.tag:
            return f"{self.name}:{self.tag}"
        state = hashlib.sha256(base_name().encode() if self.on_base else b"")
        for path in (self.containerfile, *self.inputs):
            for file in sorted(path.rglob("*")) if path.is_dir() else [path]:
                if file.is_file() and "__pycache__" not in file.parts:
                    state.update(
                        f"{file.relative_to(self.context) if path.is_dir() else file.name}\n".encode()
                    )
                    state.update(hashlib.sha256(file.read_bytes()).digest())
        return f"{self.name}:{state.hexdigest()[:12]}"


def _ours(name: str) -> Image:
    inputs = (config.ROOT / "requirements" / f"{name}.txt", config.ROOT / "operator" / "distillery")
    containerfile = config.ROOT / "images" / name / "Containerfile"
    return Image(f"docker.io/distillery/{name}", containerfile, config.ROOT, inputs)


WORKER = _ours("worker")
OPERATOR = _ours("operator")


def base_name() -> str:
    """Return the name of the base image: a digest of how it is made."""
    key = hashlib.sha256(f"{BASE_SUITE} {BASE_PACKAGES} 1".encode()).hexdigest()[:8]
    return f"localhost/distillery-base:{BASE_SUITE}-{key}"


def buildah(*words: str | Path, check: bool = True) -> str:
    """Run buildah on the cache's own storage."""
    storage = ["--root", STORE / "storage", "--runroot", STORE / "run", "--storage-driver", "overlay"]
    return run("buildah", *storage, *words, check=check).stdout


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
        run("debootstrap", "--variant=minbase", f"--include={BASE_PACKAGES}", BASE_SUITE, root, MIRROR)
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
    if "PIP_INDEX_URL" in passed:
        passed.setdefault("UV_DEFAULT_INDEX", passed["PIP_INDEX_URL"])
    with tempfile.NamedTemporaryFile("w", prefix="distillery-build-") as file:
        file.writelines(f"export {name}='{value}'\n" for name, value in passed.items() if "'" not in value)
        file.flush()
        yield ["--secret", f"id=environment,src={file.name}", "--volume", "/etc/ssl/certs:/etc/ssl/certs:ro"]


def build(image: Image) -> str:
    """Build an image unless buildah's storage has it; return its reference."""
    with exclusive(STORE / "build.lock"):
        reference = image.reference
        if not has(reference):
            _build(image, reference)
    return reference


def _build(image: Image, reference: str) -> None:
    words: list[str | Path] = ["--isolation", "chroot", "--layers", "--quiet", "-f", image.containerfile]
    ignored = STORE / "ignore"
    STORE.mkdir(parents=True, exist_ok=True)
    ignored.write_text("**/__pycache__\n")
    words += ["--ignorefile", ignored, "--tag", reference]
    with _build_environment() as options:
        if image.on_base:
            words += ["--build-arg", f"BASE={build_base()}", *options]
        retry(lambda: buildah("build", *words, image.context))
    names = buildah(
        "images", "--filter", f"reference={image.name}", "--format", "{{.Name}}:{{.Tag}}", check=False
    )
    for old in names.split():
        if old != reference:
            buildah("rmi", old, check=False)


def push(reference: str) -> Path:
    """Write an image's layers under `layers/` (those that are missing) and return the OCI index that names it."""
    LAYERS.mkdir(parents=True, exist_ok=True)
    # One image per index: the layout is only a store of blobs, and old entries would keep old layers.
    (LAYERS / "index.json").unlink(missing_ok=True)
    source = f"containers-storage:[overlay@{STORE / 'storage'}+{STORE / 'run'}]{reference}"
    # (buildah push has no way to leave layers uncompressed here.)
    run("skopeo", "--insecure-policy", "copy", "--quiet", "--dest-oci-accept-uncompressed-layers", source,
        f"oci:{LAYERS}:image")  # fmt: skip
    return LAYERS / "index.json"


def blobs(index: Path) -> list[tuple[str, int]]:
    """Return digest and size of everything an index names: manifest, configuration, layers."""
    (entry,) = json.loads(index.read_text())["manifests"]
    manifest = json.loads(_blob(entry["digest"]).read_text())
    return [(part["digest"], part["size"]) for part in (entry, manifest["config"], *manifest["layers"])]


def _blob(digest: str) -> Path:
    return LAYERS / "blobs" / "sha256" / digest.removeprefix("sha256:")


def load(reference: str) -> None:
    """Give an image to containerd: the layers that it lacks, then the image's own documents, which it unpacks."""
    index = push(reference)
    document = json.loads(index.read_text())
    document["manifests"][0]["annotations"] = {"io.containerd.image.name": reference}
    parts = blobs(index)
    manifest, configuration, *layers = parts
    for digest, size in layers:
        _ingest(digest, size)
    with tempfile.NamedTemporaryFile(prefix="distillery-image-", suffix=".tar") as file:
        _archive(file, document, [manifest[0], configuration[0]])
        file.flush()
        runtime.ctr("images", "import", file.name)
    for digest, _ in layers:
        runtime.ctr("content", "label", digest, "containerd.io/gc.root=", check=False)
    _remember(reference, parts)


def _ingest(digest: str, size: int) -> None:
    """Give containerd one layer, and hold it there until an image has it.

    Linked into its content store beforehand, the layer is found there by digest, and its gigabytes are neither copied
    nor kept twice. If containerd did not find it, it would read the file: slower, no less right.
    """
    known = runtime.ctr("content", "ls", "-q").split()
    if digest in known:
        return
    theirs = (
        runtime.ROOT
        / "io.containerd.content.v1.content"
        / "blobs"
        / "sha256"
        / digest.removeprefix("sha256:")
    )
    theirs.parent.mkdir(parents=True, exist_ok=True)
    with contextlib.suppress(OSError):
        os.link(_blob(digest), theirs)
    words = (
        "content",
        "ingest",
        "--expected-digest",
        digest,
        "--expected-size",
        str(size),
        f"layer-{digest}",
    )
    with _blob(digest).open("rb") as layer:
        runtime.ctr(*words, stdin=layer)
    runtime.ctr("content", "label", digest, "containerd.io/gc.root=importing")


def _archive(output: IO[bytes], index: dict[str, object], digests: list[str]) -> None:
    """Write an OCI archive with only some of its blobs."""
    with tarfile.open(fileobj=output, mode="w") as archive:
        for name, content in (("oci-layout", LAYOUT), ("index.json", json.dumps(index).encode())):
            header = tarfile.TarInfo(name)
            header.size = len(content)
            archive.addfile(header, io.BytesIO(content))
        for digest in digests:
            archive.add(_blob(digest), f"blobs/sha256/{digest.removeprefix('sha256:')}")


def _remember(reference: str, parts: list[tuple[str, int]]) -> None:
    """Note an image's blobs; forget all but the latest few images of its name, and layers that no image has."""
    name, _, tag = reference.rpartition("/")[2].partition(":")
    folder = LAYERS / "images"
    folder.mkdir(exist_ok=True)
    (folder / f"{name}:{tag}.json").write_text(json.dumps([digest for digest, _ in parts]))
    records = sorted(folder.glob(f"{name}:*.json"), key=lambda path: path.stat().st_mtime)
    for record in records[:-KEPT]:
        runtime.ctr("images", "rm", f"{reference.rpartition('/')[0]}/{record.stem}", check=False)
        record.unlink()
    needed = {digest for record in folder.glob("*.json") for digest in json.loads(record.read_text())}
    for blob in (LAYERS / "blobs" / "sha256").iterdir():
        if f"sha256:{blob.name}" not in needed:
            blob.unlink()


def loaded() -> set[str]:
    """Return the references of the images that containerd has."""
    return set(runtime.ctr("images", "ls", "-q").split())


def ensure(image: Image) -> str:
    """Build an image and give it to containerd, as far as needed; return its reference."""
    reference = build(image)
    with exclusive(STORE / "load.lock"):
        if reference not in loaded():
            load(reference)
    return reference
