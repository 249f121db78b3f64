"""A repository on the Hugging Face Hub: what it holds, one commit at a time, tags, and reading back what was sent.

`huggingface_hub` speaks the protocol and finds the token (HF_TOKEN, or `hf auth login`); nothing here writes, shows or
passes on a token. Every failure becomes one line that says what was kept. Left out: what is published.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

import httpx2
from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi, get_token
from huggingface_hub.errors import (
    HfHubHTTPError,
    HFValidationError,
    LocalEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from huggingface_hub.hf_api import RepoFile
from huggingface_hub.utils.tqdm import disable_progress_bars

from itool_data.errors import ItoolError, first_line
from itool_data.publish.difference import Difference, Entry, LocalFile, compare, sha256

Kind = Literal["dataset", "model"]
Report = Callable[[int, int], None]  # bytes done, of

# Uploaded together; the client sends five at a time.
BATCH = 10
LOG_IN = "log in with `hf auth login`, or set HF_TOKEN to a token that may write"


class Hub:
    """One repository.

    Args:
        repo_id: USER/NAME.
        kind: of repository.
    """

    def __init__(self, repo_id: str, kind: Kind):
        if repo_id.count("/") != 1:
            raise ItoolError(f"--repo {repo_id}: expected USER/NAME")
        disable_progress_bars()
        self._api = HfApi(library_name="itool")
        self._repo_id = repo_id
        self._kind = kind

    @property
    def url(self) -> str:
        """Where people see it."""
        folder = "datasets/" if self._kind == "dataset" else ""
        return f"{self._api.endpoint}/{folder}{self._repo_id}"

    def create(self, private: bool) -> None:
        """Make the repository where there is none.

        Raises:
            ItoolError: there is no token or the Hub refuses it, the repository cannot be made, or it should be private
                and is public already.
        """
        if get_token() is None:
            raise ItoolError(f"no token for {self._api.endpoint}; {LOG_IN}; or write to a folder with --to")
        with self._failures("asking whose token it is"):
            self._api.whoami()
        with self._failures("making the repository"):
            # None where not private: the account's own default holds.
            self._api.create_repo(self._repo_id, repo_type=self._kind, private=private or None, exist_ok=True)
            if private and not self._api.repo_info(self._repo_id, repo_type=self._kind).private:
                raise ItoolError(
                    f"{self.url}: is public; make it private in its settings first, or leave out --private"
                )

    def head(self) -> str:
        """The newest commit's id.

        Raises:
            ItoolError: the Hub cannot be asked.
        """
        with self._failures("asking for its newest commit"):
            return str(self._api.repo_info(self._repo_id, repo_type=self._kind).sha)

    def listing(self, revision: str | None = None) -> dict[str, Entry]:
        """What the repository holds, newest by default; nothing if there is no such repository.

        Raises:
            ItoolError: the Hub cannot be asked.
        """
        with self._failures("listing its files"):
            try:
                tree = list(
                    self._api.list_repo_tree(
                        self._repo_id, repo_type=self._kind, revision=revision, recursive=True, expand=False
                    )
                )
            except (RepositoryNotFoundError, RevisionNotFoundError):
                return {}
        return {
            file.path: Entry(sha256=file.lfs.sha256) if file.lfs else Entry(blob_id=file.blob_id)
            for file in tree
            if isinstance(file, RepoFile)
        }

    def tags(self) -> dict[str, str]:
        """The repository's tags and their commits.

        Raises:
            ItoolError: the Hub cannot be asked.
        """
        with self._failures("listing its tags"):
            try:
                refs = self._api.list_repo_refs(self._repo_id, repo_type=self._kind)
            except RepositoryNotFoundError:
                return {}
        return {tag.name: tag.target_commit for tag in refs.tags}

    def commit(self, difference: Difference, message: str, report: Report) -> str:
        """Send what is missing and commit it together with what is gone.

        Returns:
            The commit's id.

        Raises:
            ItoolError: the Hub refuses or fails. Files that were sent by then are kept there, and not sent again.
        """
        additions = {
            path: CommitOperationAdd(path, file.path) for path, file in (difference.sent | difference.renamed).items()
        }
        total = sum(file.size for file in difference.sent.values())
        done = 0
        report(done, total)
        with self._failures("uploading"):
            waiting = list(additions)
            for start in range(0, len(waiting), BATCH):
                batch = waiting[start : start + BATCH]
                self._api.preupload_lfs_files(
                    self._repo_id, [additions[path] for path in batch], repo_type=self._kind, free_memory=False
                )
                done += sum(difference.sent[path].size for path in batch if path in difference.sent)
                report(done, total)
        with self._failures("committing"):
            return self._api.create_commit(
                self._repo_id,
                [*additions.values(), *map(CommitOperationDelete, difference.gone)],
                commit_message=message,
                repo_type=self._kind,
            ).oid

    def read_back(
        self, files: Mapping[str, LocalFile], sent: Mapping[str, LocalFile], commit: str, scratch: Path, report: Report
    ) -> None:
        """Check that a commit holds all files, and download those that were sent: their content must be the same.

        Args:
            files: all that the commit should hold.
            sent: those of them to download.
            commit: its id.
            scratch: a folder for one download at a time.
            report: called after each file.

        Raises:
            ItoolError: naming a file that differs.
        """
        wrong = compare(files, self.listing(commit))
        differing = [*wrong.sent, *wrong.renamed]
        total, done = sum(file.size for file in sent.values()), 0
        report(done, total)
        with self._failures("reading back"):
            for path, file in sent.items():
                copy = Path(
                    self._api.hf_hub_download(
                        self._repo_id, path, repo_type=self._kind, revision=commit, local_dir=scratch
                    )
                )
                if sha256(copy) != file.sha256:
                    differing.append(path)
                copy.unlink()
                done += file.size
                report(done, total)
        if differing:
            raise ItoolError(
                f"{self.url}: {', '.join(differing)} of commit {commit} is not what was sent; publish again, or look "
                "at what stands between here and the Hub"
            )

    def tag(self, name: str, commit: str) -> None:
        """Put a tag on a commit, taking it from another one if need be.

        Raises:
            ItoolError: the Hub refuses or fails.
        """
        with self._failures("tagging"):
            if name in self.tags():
                self._api.delete_tag(self._repo_id, tag=name, repo_type=self._kind)
            self._api.create_tag(self._repo_id, tag=name, revision=commit, repo_type=self._kind)

    @contextmanager
    def _failures(self, doing: str) -> Iterator[None]:
        """Say in one line what the Hub would not do, and what to do about it."""
        try:
            yield
        except (httpx2.HTTPError, OSError, RuntimeError) as error:
            # The client wraps what went wrong with a file.
            cause = error.__cause__ if isinstance(error, RuntimeError | LocalEntryNotFoundError) else error
            if isinstance(cause, HfHubHTTPError):
                raise ItoolError(f"{self.url}: {doing}: {self._answer(cause)}") from None
            if isinstance(cause, httpx2.HTTPError | ConnectionError):
                xet = "; a server without Xet storage needs HF_HUB_DISABLE_XET=1" if "xet-" in str(cause) else ""
                raise ItoolError(
                    f"{self._api.endpoint}: {doing}: cannot be reached ({first_line(cause)}){xet}; the same command "
                    "goes on when it can, and --to writes to a folder meanwhile"
                ) from None
            if isinstance(cause, OSError):
                raise ItoolError(f"{self.url}: {doing}: {first_line(cause)}") from None
            raise
        except HFValidationError as error:
            raise ItoolError(f"--repo {self._repo_id}: {first_line(error)}") from None
        except ValueError as error:
            # What the client makes of an answer that it cannot read, and of metadata that the Hub does not accept.
            raise ItoolError(f"{self.url}: {doing}: {' '.join(str(error).split())}") from None

    def _answer(self, error: HfHubHTTPError) -> str:
        status = error.response.status_code
        said = f" ({error.server_message.splitlines()[0]})" if error.server_message else ""
        if status == 401:
            return f"the token is refused{said}; {LOG_IN}"
        if status in (403, 404):
            owner = self._repo_id.partition("/")[0]
            return f"the token may not write there{said}; if {owner} is you or lets you write, {LOG_IN}"
        if status == 429 or status >= 500:
            return (
                f"the Hub failed with status {status}{said}; files that were sent by then are kept there, and the same "
                "command goes on"
            )
        return f"the Hub answered with status {status}{said}"
