"""A server on loopback that speaks the Hub's protocol as `huggingface_hub` and `datasets` ask for it.

Repositories, preupload, LFS batches and objects, commits, tags, trees, files. Small files travel in the commit and
`*.parquet` and `*.safetensors` by LFS, as on the Hub. It counts what it receives, and fails where it is told to.
`python hub_server.py FOLDER` runs it alone and prints its address; GET /stats gives the counts.
"""

import argparse
import base64
import hashlib
import json
import re
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

TOKEN = "hf_loopbackToken1234567890abcdefghij"
USER = "me"
LARGE = (".parquet", ".safetensors")


@dataclass(frozen=True)
class Held:
    """A file of a commit: where its content lies, and its names."""

    file: Path
    size: int
    blob_id: str
    sha256: str = ""  # of a large file


@dataclass
class Repository:
    private: bool
    commits: list[tuple[str, str, dict[str, Held]]] = field(default_factory=list)  # id, message, files by path
    tags: dict[str, str] = field(default_factory=dict)

    def commit(self, message: str, files: dict[str, Held]) -> str:
        name = hashlib.sha1(f"{len(self.commits)}{message}{sorted(files)}".encode()).hexdigest()
        self.commits.append((name, message, files))
        return name

    def files(self, revision: str) -> dict[str, Held] | None:
        revision = self.tags.get(revision, revision)
        if revision == "main":
            return self.commits[-1][2]
        return next((files for name, _, files in self.commits if name == revision), None)

    def commit_of(self, revision: str) -> str:
        revision = self.tags.get(revision, revision)
        return self.commits[-1][0] if revision == "main" else revision


class HubServer(ThreadingHTTPServer):
    """The server and what it holds.

    Args:
        folder: where objects are kept.
    """

    daemon_threads = True

    def __init__(self, folder: Path):
        super().__init__(("127.0.0.1", 0), Handler)
        self.folder = folder
        self.repositories: dict[str, Repository] = {}  # by datasets/USER/NAME or models/USER/NAME
        self.received = 0  # bytes of large files
        self.bodies = 0  # bytes of all requests' bodies
        self.requests: list[str] = []
        self.failures: list[tuple[str, int, int]] = []  # pattern of "METHOD path", passes, status
        self.hold = ""  # a pattern of "METHOD path": the first such request sets `held` and is never answered
        self.held = threading.Event()
        self.corrupt = ""  # a path that is given back with another content
        self.lock = threading.Lock()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def fail(self, pattern: str, status: int, after: int = 0) -> None:
        """From the request after the first `after` that fit a pattern, answer with a status; `heal` ends it."""
        self.failures.append((pattern, after, status))

    def heal(self) -> None:
        self.failures.clear()

    def failing(self, request: str) -> int:
        for i, (pattern, after, status) in enumerate(self.failures):
            if re.search(pattern, request):
                if after == 0:
                    return status
                self.failures[i] = (pattern, after - 1, status)
        return 0

    def store(self, content: bytes) -> Held:
        """Keep a small file."""
        blob_id = hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()
        file = self.folder / blob_id
        file.write_bytes(content)
        return Held(file, len(content), blob_id)


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # an answer's head and body are two writes
    server: HubServer

    def log_message(self, *_: Any) -> None:
        pass

    def handle_request(self) -> None:
        path = unquote(urlsplit(self.path).path)
        length = int(self.headers.get("Content-Length") or 0)
        request = f"{self.command} {path}"
        with self.server.lock:
            self.server.requests.append(request)
            self.server.bodies += length
            status = self.server.failing(request)
        if self.server.hold and re.search(self.server.hold, request):
            self.server.held.set()
            threading.Event().wait()
        elif status:
            self.rfile.read(length)
            self.answer(status, {"error": "told to fail"})
        elif self.command == "PUT":
            self.put_object(path.removeprefix("/objects/"), length)
        else:
            body = self.rfile.read(length)
            with self.server.lock:
                self.route(path, body)

    do_GET = do_POST = do_PUT = do_HEAD = do_DELETE = handle_request  # noqa: N815

    def put_object(self, sha256: str, length: int) -> None:
        digest, part = hashlib.sha256(), self.server.folder / f"{sha256}.{threading.get_ident()}"
        with part.open("wb") as file:
            left = length
            while left:
                block = self.rfile.read(min(left, 1 << 20))
                left -= len(block)
                digest.update(block)
                file.write(block)
        if digest.hexdigest() != sha256:
            self.answer(400, {"error": "another content"})
            return
        part.replace(self.server.folder / sha256)
        with self.server.lock:
            self.server.received += length
        self.answer(200, {})

    def route(self, path: str, body: bytes) -> None:
        if path == "/stats":
            self.answer(200, {"received": self.server.received, "bodies": self.server.bodies})
        elif path == "/api/validate-yaml":
            self.answer(200, {})
        elif path == "/api/whoami-v2":
            if self.may_write(f"{USER}/"):
                self.answer(200, {"type": "user", "name": USER})
        elif path == "/api/repos/create":
            self.create(json.loads(body))
        elif match := re.fullmatch(r"/(?:(datasets)/)?([^/]+/[^/]+)\.git/info/lfs/objects/batch", path):
            if self.may_write(match[2]):
                self.batch(json.loads(body))
        elif match := re.fullmatch(r"/api/(datasets|models)/([^/]+/[^/]+)(?:/(.*))?", path):
            self.repository(match[1], match[2], match[3] or "", body)
        elif match := re.fullmatch(r"/(?:(datasets)/)?([^/]+/[^/]+)/resolve/([^/]+)/(.+)", path):
            self.resolve(f"{match[1] or 'models'}/{match[2]}", match[3], match[4])
        else:
            self.answer(404, {"error": f"no {path}"})

    def create(self, wanted: dict[str, Any]) -> None:
        owner = wanted.get("organization") or USER
        key = f"{wanted.get('type') or 'model'}s/{owner}/{wanted['name']}"
        if not self.may_write(f"{owner}/"):
            return
        if key in self.server.repositories:
            self.answer(409, {"error": "exists", "url": f"{self.server.url}/{key}"})
            return
        made = self.server.repositories[key] = Repository(wanted.get("visibility") == "private")
        made.commit("initial commit", {".gitattributes": self.server.store(b"*.parquet filter=lfs\n")})
        self.answer(200, {"url": f"{self.server.url}/{key}", "name": wanted["name"]})

    def may_write(self, repo_id: str) -> bool:
        """Whether the token is the user's and the repository too; answers if not."""
        if self.headers.get("Authorization") != f"Bearer {TOKEN}":
            why = "Invalid credentials in Authorization header"
            self.answer(401, {"error": why}, {"X-Error-Message": why})
            return False
        if not repo_id.startswith(f"{USER}/"):
            self.answer(403, {"error": "You don't have the rights"}, {"X-Error-Message": "You don't have the rights"})
            return False
        return True

    def batch(self, wanted: dict[str, Any]) -> None:
        objects = []
        for wish in wanted["objects"]:
            known = (self.server.folder / wish["oid"]).exists()
            upload = {"upload": {"href": f"{self.server.url}/objects/{wish['oid']}", "header": {}}}
            objects.append(wish if known else {**wish, "actions": upload})
        self.answer(200, {"transfer": "basic", "objects": objects})

    def repository(self, kind: str, repo_id: str, rest: str, body: bytes) -> None:
        found = self.server.repositories.get(f"{kind}/{repo_id}")
        verb, _, argument = rest.partition("/")
        writes = self.command in ("POST", "DELETE") and verb != "paths-info"
        if writes and not self.may_write(repo_id):
            return
        if found is None:
            self.answer(404, {"error": "Repository not found"}, {"X-Error-Code": "RepoNotFound"})
        elif verb in ("", "revision"):
            self.answer(200, self.info(found, repo_id, argument or "main"))
        elif verb == "preupload":
            files = json.loads(body)["files"]
            modes = {f["path"]: "lfs" if f["path"].endswith(LARGE) else "regular" for f in files}
            self.answer(
                200, {"files": [{"path": p, "uploadMode": mode, "shouldIgnore": False} for p, mode in modes.items()]}
            )
        elif verb == "commit":
            self.commit(found, f"{self.server.url}/{kind}/{repo_id}".replace("/models/", "/"), body)
        elif verb == "refs":
            tags = [{"name": n, "ref": f"refs/tags/{n}", "targetCommit": c} for n, c in found.tags.items()]
            main = {"name": "main", "ref": "refs/heads/main", "targetCommit": found.commits[-1][0]}
            self.answer(200, {"branches": [main], "converts": [], "tags": tags})
        elif verb == "tag" and self.command == "POST":
            name = json.loads(body)["tag"]
            if name in found.tags:
                self.answer(409, {"error": "exists"})
            else:
                found.tags[name] = found.commit_of(argument)
                self.answer(200, {})
        elif verb == "tag":
            del found.tags[argument]
            self.answer(200, {})
        elif verb in ("tree", "paths-info"):
            revision, _, folder = argument.partition("/")
            files = found.files(revision)
            if files is None:
                self.answer(404, {"error": "Revision not found"}, {"X-Error-Code": "RevisionNotFound"})
            elif verb == "tree":
                recursive = "recursive=true" in self.path.lower()
                self.answer(200, [e for e in entries(files) if is_below(e["path"], folder, recursive)])
            else:
                fields = parse_qs(body.decode()) if body[:1] != b"{" else json.loads(body)
                self.answer(200, [e for e in entries(files) if e["path"] in fields["paths"]])
        else:
            self.answer(404, {"error": f"no {verb}"})

    def info(self, found: Repository, repo_id: str, revision: str) -> dict[str, Any]:
        files = found.files(revision) or {}
        return {
            "id": repo_id, "sha": found.commit_of(revision), "private": found.private, "tags": [], "downloads": 0,
            "likes": 0, "lastModified": "2026-01-01T00:00:00.000Z", "siblings": [{"rfilename": path} for path in files],
        }  # fmt: skip

    def commit(self, found: Repository, url: str, body: bytes) -> None:
        lines = [json.loads(line) for line in body.splitlines()]
        files = dict(found.commits[-1][2])
        message = ""
        for line in lines:
            value = line["value"]
            if line["key"] == "header":
                message = value["summary"]
            elif line["key"] == "file":
                files[value["path"]] = self.server.store(base64.b64decode(value["content"]))
            elif line["key"] == "lfsFile":
                file = self.server.folder / value["oid"]
                files[value["path"]] = Held(file, file.stat().st_size, value["oid"][:40], value["oid"])
            else:
                del files[value["path"]]
        name = found.commit(message, files)
        self.answer(200, {"commitUrl": f"{url}/commit/{name}", "commitOid": name, "success": True})

    def resolve(self, key: str, revision: str, path: str) -> None:
        found = self.server.repositories.get(key)
        held = (found.files(revision) or {}).get(path) if found else None
        if found is None or held is None:
            self.answer(404, {"error": "Entry not found"}, {"X-Error-Code": "EntryNotFound"})
            return
        content = held.file.read_bytes()
        if path == self.server.corrupt:
            content = bytes([content[0] ^ 1]) + content[1:]
        headers = {
            "X-Repo-Commit": found.commit_of(revision), "ETag": f'"{held.sha256 or held.blob_id}"',
            "Accept-Ranges": "bytes",
        }  # fmt: skip
        wanted = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
        if wanted:
            first, last = int(wanted[1]), min(int(wanted[2] or held.size), held.size - 1)
            headers["Content-Range"] = f"bytes {first}-{last}/{held.size}"
            content = content[first : last + 1]
        self.send(206 if wanted else 200, content, "application/octet-stream", headers)

    def answer(self, status: int, value: Any, headers: dict[str, str] | None = None) -> None:
        self.send(status, json.dumps(value).encode(), "application/json", headers or {})

    def send(self, status: int, content: bytes, kind: str, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in ({"Content-Type": kind, "Content-Length": str(len(content))} | headers).items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)


def entries(files: dict[str, Held]) -> list[dict[str, Any]]:
    """All folders and files of a commit."""
    folders = {str(parent) for path in files for parent in PurePosixPath(path).parents} - {"."}
    return [
        *({"type": "directory", "path": folder, "oid": "0" * 40} for folder in sorted(folders)),
        *(describe(path, held) for path, held in files.items()),
    ]


def is_below(path: str, folder: str, recursive: bool) -> bool:
    return path.startswith(f"{folder}/" if folder else "") and (
        recursive or str(PurePosixPath(path).parent) == (folder or ".")
    )


def describe(path: str, held: Held) -> dict[str, Any]:
    entry: dict[str, Any] = {"type": "file", "path": path, "size": held.size, "oid": held.blob_id}
    if held.sha256:
        entry["lfs"] = {"oid": held.sha256, "size": held.size, "pointerSize": 130}
    return entry


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    server = HubServer(parser.parse_args().folder)
    print(server.url, flush=True)
    server.serve_forever()


if __name__ == "__main__":
    main()
