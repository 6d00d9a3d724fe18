"""Where pictures lie: encoded files under opaque references, on disk or in object storage through fsspec."""

from __future__ import annotations

from typing import Protocol


class BlobStore(Protocol):
    """Encoded inputs and results. References are opaque, unguessable and hold no user input. Methods block."""

    def put(self, data: bytes, kind: str) -> str:
        """Store bytes durably (visible only when complete); `kind` ("input", "result", ...) starts the reference."""
        ...

    def get(self, reference: str) -> bytes:
        """The bytes.

        Raises:
            FileNotFoundError: no such blob.
        """
        ...

    def delete(self, reference: str) -> None:
        """Remove a blob; one that is gone already is no error."""
        ...
