"""Give containerd the images that buildah built, moving and keeping as little as possible of their gigabytes.

`layers/` is an OCI layout with uncompressed layers: a layer's name is known before it is written, so a push finds what
is there already, and a code change moves only its own small layer. Large files are hard links: a layer in the layout is
the very file in containerd's content store, and the files of buildah's layer are those of containerd's snapshot.
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
from pathlib import Path
from typing import IO

import images
import runtime
from process import exclusive, run

LAYERS = images.STORE / "layers"
CONTENT = runtime.ROOT / "io.containerd.content.v1.content" / "blobs" / "sha256"
LAYOUT = b'{"imageLayoutVersion": "1.0.0"}'
KEPT = 3
LARGE = 256 << 20
HOLD = "containerd.io/gc.root"


def ensure(image: images.Image) -> str:
    """Build an image and give it to containerd, as far as needed; return its reference."""
    reference = images.build(image)
    with exclusive(images.STORE / "load.lock"):
        if reference not in loaded():
            load(reference)
    return reference


def loaded() -> set[str]:
    """Return the references of the images that containerd has."""
    return set(runtime.ctr("images", "ls", "-q").split())


def load(reference: str) -> None:
    """Give an image to containerd: the layers that it lacks, then the image's own documents; it unpacks them."""
    index = _push(reference)
    entry = index["manifests"][0]
    entry["annotations"] = {"io.containerd.image.name": reference}
    manifest = json.loads(_blob(entry["digest"]).read_text())
    layers = {layer["digest"]: layer["size"] for layer in manifest["layers"]}
    for digest, size in layers.items():
        _ingest(digest, size)
    with tempfile.NamedTemporaryFile(prefix="distillery-image-", suffix=".tar") as file:
        _archive(file, index, [entry["digest"], manifest["config"]["digest"]])
        runtime.ctr("images", "import", file.name)
    for digest in layers:
        runtime.ctr("content", "label", digest, f"{HOLD}=", check=False)
    _remember(reference, [entry["digest"], manifest["config"]["digest"], *layers], layers)
    if any(size >= LARGE for size in layers.values()):
        _share(
            reference,
            json.loads(_blob(manifest["config"]["digest"]).read_text())["rootfs"]["diff_ids"],
            layers,
        )


def _push(reference: str) -> dict[str, list[dict[str, object]]]:
    """Write an image's layers under `layers/`, those that are missing, and return the index that names it."""
    LAYERS.mkdir(parents=True, exist_ok=True)
    # One image per index: the layout is only a store of blobs, and old entries would keep old layers.
    (LAYERS / "index.json").unlink(missing_ok=True)
    storage = f"overlay@{images.STORAGE}+{images.STORE / 'run'}:{images.STORAGE_OPTION}"
    # (buildah's own push compresses whatever it is told.)
    run("skopeo", "--insecure-policy", "copy", "--quiet", "--dest-oci-accept-uncompressed-layers",
        f"containers-storage:[{storage}]{reference}",
        f"oci:{LAYERS}:image", env=images.environment())  # fmt: skip
    index: dict[str, list[dict[str, object]]] = json.loads((LAYERS / "index.json").read_text())
    return index


def _blob(digest: object) -> Path:
    return LAYERS / "blobs" / "sha256" / str(digest).removeprefix("sha256:")


def _ingest(digest: str, size: int) -> None:
    """Give containerd one layer, and hold it there until an image has it.

    Linked into its content store beforehand, the layer is found there by its digest and not copied. If containerd did
    not find it, it would read the file: slower, no less right.
    """
    if digest in runtime.ctr("content", "ls", "-q").split():
        return
    CONTENT.mkdir(parents=True, exist_ok=True)
    with contextlib.suppress(OSError):
        os.link(_blob(digest), CONTENT / digest.removeprefix("sha256:"))
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
    runtime.ctr("content", "label", digest, f"{HOLD}=importing")


def _archive(output: IO[bytes], index: object, digests: list[object]) -> None:
    """Write an OCI archive with only some of its blobs."""
    with tarfile.open(fileobj=output, mode="w") as archive:
        for name, content in (("oci-layout", LAYOUT), ("index.json", json.dumps(index).encode())):
            header = tarfile.TarInfo(name)
            header.size = len(content)
            archive.addfile(header, io.BytesIO(content))
        for digest in digests:
            archive.add(_blob(digest), f"blobs/sha256/{str(digest).removeprefix('sha256:')}")
    output.flush()


def _remember(reference: str, digests: list[object], layers: dict[str, int]) -> None:
    """Note an image's blobs; forget older images of its name and then layers that no image has.

    The latest few stay, but none with other dependencies than the latest: each such layer takes gigabytes.
    """
    prefix, _, name = reference.rpartition("/")
    folder = LAYERS / "images"
    folder.mkdir(exist_ok=True)
    (folder / f"{name}.json").write_text(json.dumps(digests))
    records = sorted(folder.glob(f"{name.partition(':')[0]}:*.json"), key=lambda path: path.stat().st_mtime)
    largest = max(layers, key=lambda digest: layers[digest])
    for position, record in enumerate(reversed(records)):
        if position >= KEPT or largest not in json.loads(record.read_text()):
            # The second name is the one that the CRI plugin gave it. (Without --sync nothing would be collected.)
            configuration = json.loads(record.read_text())[1]
            runtime.ctr("images", "rm", "--sync", f"{prefix}/{record.stem}", configuration, check=False)
            record.unlink()
    needed = {digest for record in folder.glob("*.json") for digest in json.loads(record.read_text())}
    for blob in (LAYERS / "blobs" / "sha256").iterdir():
        if f"sha256:{blob.name}" not in needed:
            blob.unlink()


def _share(reference: str, diff_ids: list[str], layers: dict[str, int]) -> None:
    """Make the files of buildah's large layers hard links to those of containerd's snapshots: neither ever changes."""
    own = {layer.get("diff-digest"): layer["id"] for layer in json.loads(_layer_table().read_text())}
    short = reference.rpartition("/")[2].partition(":")[0]
    chain = ""
    for diff in diff_ids:
        chain = diff if not chain else "sha256:" + hashlib.sha256(f"{chain} {diff}".encode()).hexdigest()
        if layers.get(diff, 0) < LARGE or diff not in own:
            continue
        with exclusive(images.build_lock(short)):
            theirs = _snapshot(chain)
            if theirs is not None:
                _link_tree(theirs, images.STORAGE / "overlay" / own[diff] / "diff")


def _layer_table() -> Path:
    return images.STORAGE / "overlay-layers" / "layers.json"


def _snapshot(chain: str) -> Path | None:
    """Return the folder in which containerd unpacked a layer, asked of it by a passing view."""
    view = "distillery-share"
    for words in (("rm", view), ("view", view, chain)):
        runtime.ctr("snapshots", *words, check=False)
    # Nothing holds the view, so a collection may take it at any moment: then there is no answer.
    mounts = runtime.ctr("snapshots", "mounts", "/mnt", view, check=False)
    runtime.ctr("snapshots", "rm", view, check=False)
    found = re.search(r"lowerdir=([^:,\s]+)|bind (/\S+/fs) ", mounts)
    return Path(found.group(1) or found.group(2)) if found else None


def _link_tree(theirs: Path, ours: Path) -> None:
    """Replace a folder by one of hard links to another with the same content, unless it is that already."""
    sample = next((path for path in theirs.rglob("*.py") if path.is_file()), None)
    if sample is None or sample.samefile(ours / sample.relative_to(theirs)):
        return
    part, old = ours.with_name("diff.new"), ours.with_name("diff.old")
    for folder in (part, old):
        shutil.rmtree(folder, ignore_errors=True)
    if run("cp", "-al", theirs, part, check=False).returncode == 0:
        ours.rename(old)
        part.rename(ours)
        shutil.rmtree(old)
    shutil.rmtree(part, ignore_errors=True)
