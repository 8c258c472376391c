"""Who may ask: everybody on this machine, and beyond it whoever has the token."""

from __future__ import annotations

import hmac
import ipaddress
import os
import stat
from pathlib import Path

from recap.errors import ConfigError

TOKEN_VARIABLE = "RECAP_SERVE_TOKEN"
_SHORTEST = 16


def check_exposure(host: str, token: str) -> None:
    """ConfigError for an address that others reach, without a token."""
    if not token and not is_loopback(host):
        raise ConfigError(
            f"--host {host} without a token: whoever reaches it could ask the policy",
            hint=f"recap serve --host {host} --token-file FILE   (or the variable {TOKEN_VARIABLE})",
        )


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches what listens there. Of names, `localhost` alone counts."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def read_token(file: Path | None) -> str:
    """The token of a file, or of the environment variable; "" if neither is given.

    Never an option of the command line, which every user of the machine can read.

    Raises:
        ConfigError: both are given, the file cannot be read or can be by others, or the token is too weak.
    """
    named = os.environ.get(TOKEN_VARIABLE)
    if file is None:
        return "" if named is None else _checked(named, TOKEN_VARIABLE)
    if named is not None:
        raise ConfigError(f"--token-file {file} and {TOKEN_VARIABLE} are both given", hint=f"unset {TOKEN_VARIABLE}")
    try:
        mode, text = file.stat().st_mode, file.read_text("ascii")
    except (OSError, ValueError) as error:
        raise ConfigError(f"--token-file {file}: {error}") from error
    if mode & (stat.S_IRWXG | stat.S_IRWXO):
        raise ConfigError(f"--token-file {file}: others can read it (mode {mode & 0o777:o})", hint=f"chmod 600 {file}")
    return _checked(text.strip(), f"--token-file {file}")


def authorised(given: str | None, token: str) -> bool:
    """Whether an Authorization header names the token, in a time that does not tell how much of it is right.

    openpi-client writes "Api-Key TOKEN", Prometheus "Bearer TOKEN".
    """
    scheme, _, named = (given or "").partition(" ")
    same = hmac.compare_digest(named.strip().encode(), token.encode())
    return same and scheme.lower() in ("api-key", "bearer")


def _checked(token: str, where: str) -> str:
    if len(token) < _SHORTEST or not token.isascii() or not token.isprintable() or " " in token:
        raise ConfigError(
            f"{where}: a token of {len(token)} characters, expected {_SHORTEST} or more, printable and without spaces",
            hint="head -c 24 /dev/urandom | base64 > FILE && chmod 600 FILE",
        )
    return token
