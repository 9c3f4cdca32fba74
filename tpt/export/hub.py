"""To the Hugging Face Hub: a folder becomes a repository, private unless it is to be public."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from tpt.errors import ConfigError, RunError

RepoKind = Literal["model", "dataset"]


def check_repo(name: str) -> None:
    """Raise ConfigError for what is no repository's name, before anything is written."""
    from huggingface_hub.errors import HFValidationError
    from huggingface_hub.utils._validators import validate_repo_id

    try:
        validate_repo_id(name)
    except HFValidationError as error:
        raise ConfigError(f"--push {name}: {error}") from None
    if name.count("/") != 1:
        raise ConfigError(f"--push {name}: expected OWNER/NAME, such as --push me/my-model")


def push(
    folder: Path, name: str, *, repo: RepoKind = "model", public: bool = False, dry_run: bool = False
) -> dict[str, Any]:
    """Upload a folder to a repository of the Hub, which is made if it is not there, and say what went where.

    The token is the environment's (``HF_TOKEN``) or that of ``hf auth login``. A repository that is there already keeps
    its visibility; files that the folder does not have stay.

    ``name`` is OWNER/NAME. With ``public`` a new repository is visible to everyone; with ``dry_run`` nobody is asked,
    and it is said what would be uploaded.

    Raises:
        ConfigError: the name is none, or there is no token.
        RunError: the Hub refuses, or cannot be reached.
    """
    check_repo(name)
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    told = {
        "repository": f"{'datasets/' if repo == 'dataset' else ''}{name}",
        "visibility": "public" if public else "private",
        "uploaded": [path.relative_to(folder).as_posix() for path in files],
        "megabytes_uploaded": round(sum(path.stat().st_size for path in files) / 1e6, 1),
    }
    if dry_run:
        return {**told, "dry_run": True}
    from huggingface_hub import HfApi, get_token

    if not get_token():
        raise ConfigError(
            f"--push {name}: no token of the Hub here: hf auth login, or set HF_TOKEN; --dry-run needs none"
        )
    api = HfApi()
    try:
        api.create_repo(name, repo_type=repo, private=not public, exist_ok=True)
        done = api.upload_folder(
            repo_id=name, folder_path=folder, repo_type=repo, commit_message="Upload by tpt export"
        )
    except Exception as error:
        raise RunError(
            f"--push {name}: the Hub did not take it: {type(error).__name__}: {str(error).strip().splitlines()[0]:.300}. "
            f"{folder} is whole: push it again, or by hand: hf upload {name} {folder}"
        ) from None
    return {**told, "commit": str(done.commit_url)}
