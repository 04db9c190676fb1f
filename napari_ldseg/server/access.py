"""Who may use the server: this computer, or whoever has the password; MONAI Label's own sign-in stays possible."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import ipaddress
import time
from collections.abc import Collection
from dataclasses import dataclass
from urllib.parse import urlsplit

TOKEN_SECONDS = 12 * 3600
LOCAL_NAMES = ("localhost", "127.0.0.1", "::1")
SHORTEST_PASSWORD = 12

NOT_ALONE = (
    "This server has no password and answers only to programs on its own computer; start it with "
    "--password-file, or turn on MONAI_LABEL_AUTH_ENABLE."
)
SIGN_IN = "Sign in: the server needs a password or a valid token."
OTHER_SITE = "A web page of another site may not use this server."


@dataclass(frozen=True)
class Refusal:
    """Why a request is refused, and its HTTP status."""

    status: int
    reason: str


@dataclass(frozen=True)
class Access:
    """The rule for requests.

    Parameters
    ----------
    password
        Everybody needs it, with any user name; None if there is none.
    others_check
        Whether MONAI Label checks the users itself (``MONAI_LABEL_AUTH_ENABLE``, an OpenID provider).
    origins
        Web sites other than the server's own whose pages may use it (``MONAI_LABEL_CORS_ORIGINS``).
    """

    password: str | None = None
    others_check: bool = False
    origins: Collection[str] = ()

    def refusal(
        self, client: str | None, host: str, origin: str = "", authorization: str = ""
    ) -> Refusal | None:
        """Return why a request is refused; None if it is not.

        Parameters
        ----------
        client
            The address that it comes from, behind a proxy the one that the proxy forwards.
        host, origin, authorization
            The headers of these names, "" if they are missing.
        """
        if origin and origin not in self.origins and origin.partition("://")[2] != host:
            return Refusal(403, OTHER_SITE)
        if self.password is not None:
            return None if self._signed_in(authorization) else Refusal(401, SIGN_IN)
        if self.others_check:
            return None
        # The name is checked too, as a web page can make its own name lead to this computer.
        name = host_name(host)
        if not is_local(client) or name not in LOCAL_NAMES:
            return Refusal(403, NOT_ALONE)
        return None

    def token(self, password: str, now: float | None = None) -> str | None:
        """Return a token that stands for the password for 12 hours; None if the password is wrong."""
        if self.password is None or not hmac.compare_digest(
            password.encode(), self.password.encode()
        ):
            return None
        end = str(int(time.time() if now is None else now) + TOKEN_SECONDS)
        return f"{end}.{self._signature(end)}"

    def _signed_in(self, authorization: str) -> bool:
        scheme, _, given = authorization.partition(" ")
        if scheme.lower() == "bearer":
            end, _, signature = given.partition(".")
            valid = hmac.compare_digest(signature.encode(), self._signature(end).encode())
            return valid and int(end) > time.time()
        if scheme.lower() == "basic":
            try:
                _, _, password = base64.b64decode(given, validate=True).decode().partition(":")
            except (binascii.Error, UnicodeDecodeError):
                return False
            return self.token(password) is not None
        return False

    def _signature(self, end: str) -> str:
        key = hashlib.sha256(f"napari-ldseg {self.password}".encode()).digest()
        return hmac.new(key, end.encode(), hashlib.sha256).hexdigest()


def host_name(host: str) -> str:
    """Return the name in a ``Host`` header, in lower case; "" if there is none."""
    try:
        return (urlsplit(f"//{host}").hostname or "").lower()
    except ValueError:
        return ""


def is_local(client: str | None) -> bool:
    """Return whether the address ``client`` is of this computer."""
    try:
        return ipaddress.ip_address(client or "").is_loopback
    except ValueError:
        return False
