"""URLs of object stores: what one may hold, its folder on this machine, and what obstore is to be told of it."""

from __future__ import annotations

import configparser
import hashlib
import os
import socket
from pathlib import Path
from typing import Any
from urllib.parse import SplitResult, parse_qsl, urlsplit

import httpx2

from tpt.errors import RunError
from tpt.system.child_python import is_installed

_SECRET = ("key", "secret", "token", "password", "credential", "signature")
_KNOWN = {"s3": {"endpoint_override", "scheme", "region"}, "gs": {"endpoint_override", "scheme"}}
_ENDPOINTS = ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_ENDPOINT")
_ROLES = (
    "AWS_METADATA_ENDPOINT",
    "AWS_WEB_IDENTITY_TOKEN_FILE",
    "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
    "AWS_CONTAINER_CREDENTIALS_FULL_URI",
)
_INDIRECT = ("credential_process", "sso_session", "sso_start_url", "role_arn")
"""Keys of a profile that say how credentials are to be had."""


def checked(url: str) -> SplitResult:
    """Return the parts of a URL.

    Raises:
        RunError: it holds credentials, or no bucket or no name in it.
    """
    parts = urlsplit(url)
    secrets = [key for key, _ in parse_qsl(parts.query) if any(word in key.lower() for word in _SECRET)]
    if parts.username or parts.password or secrets:
        # Not shown: the message may end up in a log.
        raise RunError(
            f"{parts.scheme}://…: the URL holds credentials, which would end up in logs. Leave them out; they are "
            "taken from the environment (for S3: AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, ~/.aws, a role)"
        )
    if not parts.netloc or not parts.path.strip("/"):
        raise RunError(f"{url}: expected a bucket and a name in it, such as s3://bucket/runs/first")
    return parts


def folder_name(url: str) -> str:
    """Return the name of a URL's own folder on this machine; the order of query keys makes no difference."""
    parts = checked(url)
    same = f"{parts.scheme}://{parts.netloc}{parts.path.rstrip('/')}?{sorted(parse_qsl(parts.query))}"
    return hashlib.sha256(same.encode()).hexdigest()[:16]


def store_options(parts: SplitResult, kind: str) -> dict[str, Any]:
    """Return what obstore, which reads the environment itself, is to be told of a URL.

    Raises:
        RunError: the URL has an option that is not known, or the profile needs a package that is missing.
    """
    given, known = dict(parse_qsl(parts.query)), _KNOWN.get(kind, set())
    if unknown := sorted(given.keys() - known):
        raise RunError(
            f"{parts.scheme}://{parts.netloc}{parts.path}: unknown option {', '.join(unknown)}; known: "
            f"{', '.join(sorted(known)) or 'none'}"
        )
    endpoint = f"{given.get('scheme', 'https')}://{host}" if (host := given.get("endpoint_override")) else None
    if kind != "s3":
        return {"base_url": endpoint} if endpoint else {}
    profile, environ = _profile(), os.environ.get
    region = given.get("region") or environ("AWS_REGION") or environ("AWS_DEFAULT_REGION") or profile.get("region")
    if not region and not endpoint and not any(map(environ, _ENDPOINTS)):
        region = bucket_region(parts.netloc)
    # Not every store that speaks S3 deletes in bulk.
    options = {"disable_bulk_delete": True, "endpoint": endpoint, "region": region}
    credentials = {} if environ("AWS_ACCESS_KEY_ID") else _credentials(profile)
    return {key: option for key, option in options.items() if option} | credentials


def bucket_region(bucket: str, host: str = "https://s3.amazonaws.com") -> str | None:
    """Return the region of a bucket, which Amazon tells anybody; None when it cannot be asked."""
    try:
        return httpx2.head(f"{host}/{bucket}", timeout=10).headers.get("x-amz-bucket-region")
    except httpx2.HTTPError:
        return None


def _credentials(profile: dict[str, str]) -> dict[str, Any]:
    if "aws_access_key_id" in profile:
        keys = ("access_key_id", "secret_access_key", "session_token")
        return {key: profile[f"aws_{key}"] for key in keys if f"aws_{key}" in profile}
    if how := [key for key in _INDIRECT if key in profile]:
        if not is_installed("boto3"):
            raise RunError(
                f"~/.aws: the profile has {how[0]}, which boto3 is needed for. pip install boto3, or set AWS_ACCESS_KEY_ID "
                "and AWS_SECRET_ACCESS_KEY"
            )
        from obstore.auth.boto3 import Boto3CredentialProvider

        return {"credential_provider": Boto3CredentialProvider()}
    # Without any, requests go unsigned: a public bucket can be read, and of others the store says at once that it needs more.
    return {} if any(map(os.environ.get, _ROLES)) or _on_amazon() else {"skip_signature": True}


def _on_amazon() -> bool:
    """Return whether the machine may have a role, which obstore would ask for as long as for all else."""
    if os.environ.get("AWS_EC2_METADATA_DISABLED", "").lower() == "true":
        return False
    try:
        socket.create_connection(("169.254.169.254", 80), timeout=1).close()
    except OSError:
        return False
    return True


def _profile() -> dict[str, str]:
    files = configparser.ConfigParser(interpolation=None, default_section="")
    home = Path.home() / ".aws"
    names = (("AWS_CONFIG_FILE", "config"), ("AWS_SHARED_CREDENTIALS_FILE", "credentials"))
    try:
        files.read(os.environ.get(variable) or home / name for variable, name in names)
    except (configparser.Error, UnicodeDecodeError) as error:
        raise RunError(f"~/.aws: cannot be read: {error}") from None
    name = os.environ.get("AWS_PROFILE") or "default"
    return {key: text for each in (f"profile {name}", name) if each in files for key, text in files[each].items()}
