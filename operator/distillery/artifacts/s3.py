"""The object store in an S3 bucket: the only importer of boto3.

Conditional puts (If-None-Match, If-Match) decide races; multipart uploads become visible when complete.
"""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from boto3.exceptions import Boto3Error
from boto3.s3.transfer import TransferConfig
from boto3.session import Session
from botocore import exceptions as boto
from botocore.config import Config
from botocore.parsers import ResponseParserError
from s3transfer.exceptions import (  # type: ignore[import-untyped]
    RetriesExceededError,
    S3DownloadFailedError,
)

from distillery.artifacts.credentials import S3Credentials, S3CredentialsReference
from distillery.artifacts.files import landing
from distillery.artifacts.layout import check_key
from distillery.artifacts.refusals import Place, Refusal, explain
from distillery.artifacts.store import MissingObject, ObjectStat
from distillery.errors import Conflict, DistilleryError, StageFailed, TransientError

_TOKEN = "distillery-put"
"""Metadata of conditional puts: tells our own write from another's with the same content."""
_MISSING = {"NoSuchKey", "404", "NotFound"}
_NO_ANSWER = (
    boto.BotoCoreError,
    ResponseParserError,
    Boto3Error,
    RetriesExceededError,
    S3DownloadFailedError,
)
_BROKEN_BODY = (boto.IncompleteReadError, boto.ResponseStreamingError, boto.ReadTimeoutError)
_NO_CREDENTIALS = (
    boto.NoCredentialsError,
    boto.PartialCredentialsError,
    boto.CredentialRetrievalError,
    boto.TokenRetrievalError,
    boto.NoAuthTokenError,
    boto.ProfileNotFound,
    boto.SSOError,
)
_TLS = "no trusted TLS connection: check http or https in `endpoint` of {field}, and the certificate"
_NO_S3 = "the answer is not that of an S3 server: check `endpoint` in {field}"
_NO_BUCKET = "{bucket} is no valid bucket, or the region is wrong: check `uri` in {field}"
_HINTS: tuple[tuple[tuple[type[Exception], ...], str], ...] = (
    (_NO_CREDENTIALS, "no usable credentials: check {keys}"),
    ((boto.SSLError,), _TLS),
    ((ResponseParserError,), _NO_S3),
    ((boto.ParamValidationError, boto.InvalidRegionError), _NO_BUCKET),
)


@dataclass(frozen=True, slots=True)
class S3Patience:
    """How long to wait and how often to try; seconds.

    `first_contact` bounds the search for the server, so that a wrong address is told within 15 s; once it has
    answered, it may be away for a minute: boto3's pauses of at most 20 s between so many attempts are 105 s on
    average.
    """

    attempts: int = 15
    connect: float = 5.0
    read: float = 60.0
    first_contact: float = 8.0
    first_attempts: int = 4
    first_connect: float = 3.0
    first_read: float = 5.0
    pause: float = 0.25
    longest_pause: float = 20.0

    def after(self, attempt: int) -> float:
        """Return the pause after an attempt, counted from 1, for what boto3 does not repeat itself."""
        return min(self.pause * 2.0**attempt, self.longest_pause)


class S3Store:
    """Objects below a prefix of a bucket. The first call makes the first contact. Safe for threads.

    Credentials are looked up at every contact, in the process that makes it; a pickled store holds none.
    """

    def __init__(
        self,
        place: Place,
        prefix: str,
        credentials: S3CredentialsReference | None = None,
        patience: S3Patience | None = None,
        part_size: int = 8 << 20,
    ) -> None:
        self.uri = place.uri
        self._place = place
        self._bucket = place.bucket
        self._prefix = prefix.strip("/") + "/" if prefix.strip("/") else ""
        self._credentials = credentials
        self._patience = patience or S3Patience()
        # Four parts at a time bound memory to some 100 MB with the default part size.
        self._part_size = part_size
        self._lock = threading.Lock()
        self._connected: Any = None
        self._keys: S3Credentials | None = None

    def __getstate__(self) -> dict[str, Any]:
        """Leave connection and keys behind: another process (a Ray worker) finds its own."""
        left = ("_lock", "_connected", "_keys")
        return {name: value for name, value in vars(self).items() if name not in left}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        self._lock = threading.Lock()
        self._connected = self._keys = None

    def _transfer(self) -> TransferConfig:
        """Return how large objects are moved; made anew each time, since boto3's own does not survive pickling."""
        size = self._part_size
        return TransferConfig(multipart_threshold=size, multipart_chunksize=size, max_concurrency=4)

    def get(self, key: str) -> bytes:
        """Return the whole object."""
        full = self._full(key)
        with self._explained("read", key):
            return self._read(full)

    def stat(self, key: str) -> ObjectStat | None:
        """Return facts, or None if there is no such object."""
        full = self._full(key)
        try:
            with self._explained("read", key):
                head = self._client.head_object(Bucket=self._bucket, Key=full)
        except MissingObject:
            return None
        return ObjectStat(
            key=key,
            size=head["ContentLength"],
            etag=_bare(head["ETag"]),
            modified=head["LastModified"].timestamp(),
        )

    def put(self, key: str, data: bytes, *, if_absent: bool = False, if_match: str | None = None) -> str:
        """Write an object and return its etag."""
        if if_absent and if_match is not None:
            raise ValueError("if_absent and if_match exclude each other")
        condition: dict[str, Any] = {}
        if if_absent:
            condition["IfNoneMatch"] = "*"
        if if_match is not None:
            condition["IfMatch"] = f'"{if_match}"'
        if condition:
            condition["Metadata"] = {_TOKEN: uuid.uuid4().hex}
        full = self._full(key)
        with self._explained("write", key):
            return self._put(key, full, data, condition)

    def upload(self, key: str, path: Path) -> None:
        """Write a file of any size, in parts."""
        full = self._full(key)
        with path.open("rb") as file, self._explained("write", key):
            self._client.upload_fileobj(file, self._bucket, full, Config=self._transfer())

    def download(self, key: str, path: Path) -> None:
        """Fetch an object of any size, in parts, into a file whose folder exists."""
        full = self._full(key)
        with self._explained("read", key), landing(path) as part, part.open("xb") as file:
            self._client.download_fileobj(self._bucket, full, file, Config=self._transfer())

    def list(self, prefix: str = "") -> Iterator[ObjectStat]:
        """Yield all objects whose key starts with `prefix`, sorted by key."""
        with self._explained("list", prefix):
            pages = self._client.get_paginator("list_objects_v2").paginate(
                Bucket=self._bucket, Prefix=self._prefix + prefix
            )
            for page in pages:
                for found in page.get("Contents", ()):
                    key = found["Key"][len(self._prefix) :]
                    if key and not key.endswith("/"):  # consoles make empty objects that stand for folders
                        modified = found["LastModified"].timestamp()
                        yield ObjectStat(key, found["Size"], _bare(found["ETag"]), modified)

    def delete(self, key: str) -> None:
        """Remove an object; removing a missing one is no error."""
        full = self._full(key)
        try:
            with self._explained("delete", key):
                self._client.delete_object(Bucket=self._bucket, Key=full)
        except MissingObject:
            return  # some servers answer 404 where AWS answers 204

    def sweep(self, before: float, *, dry_run: bool = False) -> tuple[str, ...]:
        """Abort multipart uploads that were started before this time."""
        found = []
        with self._explained("sweep", "unfinished uploads"):
            pages = self._client.get_paginator("list_multipart_uploads").paginate(
                Bucket=self._bucket, Prefix=self._prefix
            )
            for page in pages:
                for upload in page.get("Uploads", ()):
                    if upload["Initiated"].timestamp() >= before:
                        continue
                    found.append(f"unfinished upload of {upload['Key'][len(self._prefix) :]}")
                    if not dry_run:
                        self._client.abort_multipart_upload(
                            Bucket=self._bucket, Key=upload["Key"], UploadId=upload["UploadId"]
                        )
        return tuple(found)

    def close(self) -> None:
        """Close connections; the next call opens new ones."""
        with self._lock:
            if self._connected is not None:
                self._connected.close()
                self._connected = self._keys = None

    def _full(self, key: str) -> str:
        return self._prefix + check_key(key)

    def _put(self, key: str, full: str, data: bytes, condition: dict[str, Any]) -> str:
        """Put, and settle what S3 leaves to clients: 409 for a race in progress, answers lost on the way."""
        resent = False
        attempt = 0
        while True:
            attempt += 1
            try:
                answer = self._client.put_object(Bucket=self._bucket, Key=full, Body=data, **condition)
                return _bare(answer["ETag"])
            except boto.ClientError as error:
                refusal = _refusal(error)
                resent = resent or error.response["ResponseMetadata"].get("RetryAttempts", 0) > 0
                if refusal.status == 409 and attempt < self._patience.attempts:
                    time.sleep(self._patience.after(attempt))
                elif refusal.status == 412 or (refusal.code in _MISSING and "IfMatch" in condition):
                    etag = self._own_write(full, condition["Metadata"]) if resent else None
                    if etag is None:
                        raise Conflict(key) from None
                    return etag
                else:
                    raise

    def _own_write(self, full: str, token: dict[str, str]) -> str | None:
        """Return the etag if the object carries our token: an earlier try succeeded, its answer was lost."""
        try:
            head = self._client.head_object(Bucket=self._bucket, Key=full)
        except boto.ClientError as error:
            if _refusal(error).code in _MISSING:
                return None
            raise
        return _bare(head["ETag"]) if head["Metadata"] == token else None

    @property
    def _client(self) -> Any:
        with self._lock:
            if self._connected is None:
                self._connected = self._connect()
            return self._connected

    def _connect(self) -> Any:
        """Find the server with short timeouts, to tell a wrong address soon; return a patient client."""
        patience = self._patience
        self._keys = None if self._credentials is None else self._credentials.look_up()
        with self._explained("open", ""):
            session = Session()
        seeker = self._make_client(session, patience.first_connect, patience.first_read, 1)
        deadline = time.monotonic() + patience.first_contact
        pause = patience.pause
        try:
            for attempt in range(1, patience.first_attempts + 1):
                try:
                    self._look(seeker)
                    break
                except (StageFailed, TransientError) as error:
                    for_good = isinstance(error, StageFailed) and error.failure_class == "user"
                    last = attempt == patience.first_attempts or time.monotonic() + pause > deadline
                    if for_good or last:
                        raise
                time.sleep(pause)
                pause *= 2
        finally:
            seeker.close()
        return self._make_client(session, patience.connect, patience.read, patience.attempts)

    def _look(self, seeker: Any) -> None:
        with self._explained("list", ""):
            try:
                seeker.list_objects_v2(Bucket=self._bucket, Prefix=self._prefix, MaxKeys=1)
            except boto.ClientError as error:
                if _refusal(error).code != "AccessDenied":  # single objects may be allowed all the same
                    raise

    def _make_client(self, session: Any, connect: float, read: float, attempts: int) -> Any:
        own = self._place.endpoint is not None
        config = Config(
            connect_timeout=connect,
            read_timeout=read,
            retries={"mode": "standard", "total_max_attempts": attempts},
            max_pool_connections=16,
            # A server of one's own rarely has a host name per bucket, nor the newest checksum trailers.
            s3={"addressing_style": "path"} if own else None,
            request_checksum_calculation="when_required" if own else "when_supported",
            response_checksum_validation="when_required" if own else "when_supported",
        )
        keys: dict[str, str | None] = {}
        if self._keys is not None:
            keys = {
                "aws_access_key_id": self._keys.access_key,
                "aws_secret_access_key": self._keys.secret_key,
                "aws_session_token": self._keys.session_token,
            }
        with self._explained("open", ""):
            region = session.region_name or "us-east-1"
            return session.client(
                "s3", region_name=region, endpoint_url=self._place.endpoint, config=config, **keys
            )

    def _read(self, full: str) -> bytes:
        """Get an object; repeat what boto3 does not: a body that breaks off after the headers."""
        attempt = 0
        while True:
            attempt += 1
            answer = self._client.get_object(Bucket=self._bucket, Key=full)
            with closing(answer["Body"]) as body:
                try:
                    data: bytes = body.read()
                    return data
                except _BROKEN_BODY:
                    if attempt == self._patience.attempts:
                        raise
            time.sleep(self._patience.after(attempt))

    @contextmanager
    def _explained(self, action: str, key: str) -> Iterator[None]:
        """Turn boto3's errors into ours, unchained: their texts may repeat parts of credentials."""
        what = f"{action} {key}" if key else action
        try:
            yield
        except boto.ClientError as error:
            refusal = _refusal(error, self._hidden())
            if refusal.code == "NoSuchKey" or (refusal.code in _MISSING and self._connected is not None):
                raise MissingObject(key) from None
            if self._connected is None and refusal.status >= 500 and refusal.code == str(refusal.status):
                # boto3 also makes a 500 of a page that some web server sends with 200.
                hint = f"{self._place.say(_NO_S3)} (status {refusal.status})"
                raise StageFailed("StoreUnusable", f"{self._start(what)}: {hint}", "infrastructure") from None
            raise explain(self._place, what, refusal) from None
        except _NO_ANSWER as error:
            raise self._broken(what, error) from None

    def _broken(self, what: str, error: Exception) -> DistilleryError:
        """Say what a call without an answer means. Before the first answer the address is in doubt."""
        start = self._start(what)
        for classes, hint in _HINTS:
            if isinstance(error, classes):
                return StageFailed("StoreUnusable", f"{start}: {self._place.say(hint)}")
        if self._connected is None:
            hint = self._place.say("the server does not answer: start it, or check `endpoint` in {field}")
            return StageFailed("StoreUnusable", f"{start}: {hint} ({type(error).__name__})", "infrastructure")
        return TransientError(f"{start}: the connection failed ({type(error).__name__})")

    def _start(self, what: str) -> str:
        return f"cannot {what} in {self.uri} ({self._place.address})"

    def _hidden(self) -> tuple[str, ...]:
        return self._keys.values if self._keys is not None else ()


def _bare(etag: str) -> str:
    return etag.strip('"')


def _refusal(error: boto.ClientError, hidden: tuple[str, ...] = ()) -> Refusal:
    details = error.response.get("Error", {})
    status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
    return Refusal(str(details.get("Code") or status), status, str(details.get("Message", "")), hidden)
