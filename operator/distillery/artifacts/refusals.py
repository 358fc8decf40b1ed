"""What an S3 server's refusal means: the sentence that a user needs, and what must happen next. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from distillery.errors import DistilleryError, StageFailed, TransientError

_WRONG_KEYS = "check {keys}"
_UNKNOWN_KEY = "the server does not know the access key: " + _WRONG_KEYS
_RIGHTS = "the credentials lack the right to {action} here: allow it in the bucket's policy, or check {keys}"
_FULL = "the storage or its quota is full: free some space and run again"
_ADDRESS = "check `uri` and `endpoint` in {field}"
_ELSEWHERE = "the bucket {bucket} lives in another region or at another endpoint: " + _ADDRESS

_REFUSED = {
    "NoSuchBucket": "the bucket {bucket} does not exist: create it, or check `uri` in {field}",
    "InvalidBucketName": "{bucket} is no valid bucket name: check `uri` in {field}",
    "InvalidAccessKeyId": _UNKNOWN_KEY,
    "XAdminUserNotFound": _UNKNOWN_KEY,  # versitygw's name for it
    "SignatureDoesNotMatch": "the secret access key is wrong: " + _WRONG_KEYS,
    "InvalidToken": "the session token is wrong: " + _WRONG_KEYS,
    "ExpiredToken": "the credentials have expired: renew {keys}",
    "TokenRefreshRequired": "the credentials have expired: renew {keys}",
    "AccessDenied": _RIGHTS,
    "AllAccessDisabled": _RIGHTS,
    "AccountProblem": _RIGHTS,
    "403": _RIGHTS,
    "401": _RIGHTS,
    "RequestTimeTooSkewed": "the clocks of server and client differ too much: set the clock of this machine",
    "PermanentRedirect": _ELSEWHERE,
    "301": _ELSEWHERE,
    "AuthorizationHeaderMalformed": "the bucket {bucket} lives in another region: set AWS_REGION",
    "NotImplemented": "the server lacks something that is needed (conditional writes): use another server",
    "QuotaExceeded": _FULL,
    "InsufficientStorage": _FULL,
    "XMinioStorageFull": _FULL,
    "507": _FULL,
    "EntityTooLarge": "the object is too large for the server: raise its limit",
    "404": "nothing like an S3 bucket answers there: " + _ADDRESS,
    "405": "nothing like an S3 bucket answers there: " + _ADDRESS,
}
_PASSING = {
    "InternalError",
    "ServiceUnavailable",
    "SlowDown",
    "RequestTimeout",
    "RequestTimeoutException",
    "Throttling",
    "ThrottlingException",
    "TooManyRequestsException",
    "RequestLimitExceeded",
    "BandwidthLimitExceeded",
    "BadDigest",
    "IncompleteBody",
    "429",
}


@dataclass(frozen=True, slots=True)
class Place:
    """Where a store is, in the user's words: `field` is the part of the manifest that names it."""

    bucket: str
    uri: str
    endpoint: str | None
    credentials_secret: str | None
    field: str

    @property
    def address(self) -> str:
        """Return what to call the server."""
        return self.endpoint or "AWS"

    @property
    def keys(self) -> str:
        """Return where the credentials come from."""
        if self.credentials_secret is None:
            return "the AWS credentials of this process (environment, profile or role)"
        secret = self.credentials_secret
        local = f"locally --secret {secret}/AWS_ACCESS_KEY_ID=env:VAR"
        return f"AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY of the secret {secret} ({local})"

    def say(self, sentence: str, action: str = "use") -> str:
        """Fill in a sentence."""
        return sentence.format(
            bucket=self.bucket, field=self.field, keys=self.keys, action=action, address=self.address
        )


@dataclass(frozen=True, slots=True)
class Refusal:
    """An error answer of an S3 server."""

    code: str
    status: int
    message: str
    hidden: Sequence[str] = ()
    """Secret values that must not be repeated, should the server's message hold them."""


def explain(place: Place, action: str, refusal: Refusal) -> DistilleryError:
    """Return the error to raise for a refused call; `action` reads like `write teacher/x.json`."""
    start = f"cannot {action} in {place.uri} ({place.address})"
    answer = f"the server answered {refusal.status}"
    if refusal.code != str(refusal.status):
        answer += f" {refusal.code}"
    # 409: other writers are at the same key just now.
    passing = refusal.code in _PASSING or refusal.status == 409 or refusal.status >= 500
    if passing and refusal.code not in _REFUSED:
        return TransientError(f"{start}: {answer}")
    sentence = _REFUSED.get(refusal.code)
    if sentence is not None:
        return StageFailed("StoreUnusable", f"{start}: {place.say(sentence, action.partition(' ')[0])}")
    message = refusal.message
    for value in refusal.hidden:
        message = message.replace(value, "•••")
    repair = place.say(_WRONG_KEYS if refusal.status in (401, 403) else _ADDRESS)
    return StageFailed("StoreUnusable", f"{start}: {answer} ({message}): {repair}")
