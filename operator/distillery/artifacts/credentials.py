"""How an S3 store comes by its keys: it knows where they are, never what they are, until it contacts the server."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol

from distillery.api.v1alpha1.common import S3_ACCESS_KEY, S3_SECRET_KEY, S3_SESSION_TOKEN


class SecretValues(Protocol):
    """Where secret values come from (stages.context.Secrets)."""

    def get(self, name: str, key: str) -> str:
        """Return the value. Raises: SpecError."""
        ...

    def optional(self, name: str, key: str) -> str | None:
        """Return the value or None."""
        ...


@dataclass(frozen=True, slots=True)
class S3Credentials:
    """Keys given by a Secret. Never printed, never sent to another process."""

    access_key: str = field(repr=False)
    secret_key: str = field(repr=False)
    session_token: str | None = field(default=None, repr=False)

    def __reduce__(self) -> str | tuple[object, ...]:
        """Refuse to be pickled. Raises: TypeError."""
        raise TypeError("S3 credentials do not travel: send the store, which looks them up where it arrives")

    @property
    def values(self) -> tuple[str, ...]:
        """Return what must not be repeated in any text."""
        return tuple(value for value in (self.access_key, self.secret_key, self.session_token) if value)


@dataclass(frozen=True, slots=True)
class S3CredentialsReference:
    """The name of the Secret with the keys, and what resolves it; it travels as well as `secrets` does."""

    secret: str
    secrets: SecretValues = field(repr=False)

    def look_up(self) -> S3Credentials | None:
        """Return the keys as they are now; None: boto3 looks in its own places.

        Raises: SpecError if only one of the two keys is given.
        """
        access = self.secrets.optional(self.secret, S3_ACCESS_KEY)
        secret = self.secrets.optional(self.secret, S3_SECRET_KEY)
        if access is None and secret is None:
            return None
        return S3Credentials(
            access_key=access or self.secrets.get(self.secret, S3_ACCESS_KEY),
            secret_key=secret or self.secrets.get(self.secret, S3_SECRET_KEY),
            session_token=self.secrets.optional(self.secret, S3_SESSION_TOKEN),
        )
