"""Every error answer of an S3 server becomes a sentence with a repair, or a reason to try again."""

from __future__ import annotations

import pytest

from distillery.artifacts.refusals import Place, Refusal, explain
from distillery.errors import StageFailed, TransientError

PLACE = Place("models", "s3://models/x", "http://s3:9000", "keys", "spec.storage")
START = "cannot write a/b in s3://models/x (http://s3:9000): "
KEYS = (
    "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY of the secret keys "
    "(locally --secret keys/AWS_ACCESS_KEY_ID=env:VAR)"
)
REFUSED = {
    ("NoSuchBucket", 404): "the bucket models does not exist: create it, or check `uri` in spec.storage",
    ("InvalidAccessKeyId", 403): f"the server does not know the access key: check {KEYS}",
    ("SignatureDoesNotMatch", 403): f"the secret access key is wrong: check {KEYS}",
    ("ExpiredToken", 400): f"the credentials have expired: renew {KEYS}",
    ("AccessDenied", 403): (
        f"the credentials lack the right to write here: allow it in the bucket's policy, or check {KEYS}"
    ),
    ("404", 404): "nothing like an S3 bucket answers there: check `uri` and `endpoint` in spec.storage",
    ("NotImplemented", 501): (
        "the server lacks something that is needed (conditional writes): use another server"
    ),
    ("InsufficientStorage", 507): "the storage or its quota is full: free some space and run again",
    ("Odd", 400): "the server answered 400 Odd (said •••): check `uri` and `endpoint` in spec.storage",
    ("Odd", 403): f"the server answered 403 Odd (said •••): check {KEYS}",
}


@pytest.mark.parametrize(("refusal", "want"), REFUSED.items(), ids=[f"{c} {s}" for c, s in REFUSED])
def test_refusals_name_the_repair_and_no_secret(refusal: tuple[str, int], want: str) -> None:
    error = explain(PLACE, "write a/b", Refusal(*refusal, "said PLANTED", ("PLANTED",)))
    assert isinstance(error, StageFailed)
    assert (error.reason, error.message, error.failure_class) == ("StoreUnusable", START + want, "user")


@pytest.mark.parametrize(
    ("code", "status"),
    [
        ("InternalError", 500),
        ("ServiceUnavailable", 503),
        ("SlowDown", 503),
        ("RequestTimeout", 400),
        ("ThrottlingException", 400),
        ("OperationAborted", 409),
        ("ConditionalRequestConflict", 409),
        ("Odd", 502),
    ],
)
def test_what_may_pass_is_transient(code: str, status: int) -> None:
    error = explain(PLACE, "write a/b", Refusal(code, status, "text"))
    assert isinstance(error, TransientError)
    assert str(error) == f"{START}the server answered {status} {code}"


def test_an_answer_without_code_shows_its_status_once() -> None:
    assert str(explain(PLACE, "read a", Refusal("503", 503, ""))).endswith("the server answered 503")


def test_without_a_secret_the_process_own_credentials_are_named() -> None:
    place = Place("models", "s3://models", None, None, "the source")
    error = explain(place, "list", Refusal("InvalidAccessKeyId", 403, ""))
    assert str(error) == (
        "StoreUnusable: cannot list in s3://models (AWS): the server does not know the access key: "
        "check the AWS credentials of this process (environment, profile or role)"
    )
