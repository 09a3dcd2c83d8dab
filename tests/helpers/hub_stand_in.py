"""A stand-in for the server of the Hugging Face Hub: its HTTP interface for uploads and downloads of models, in memory."""

import base64
import hashlib
import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Optional

TOKEN = "hf_stand_in"

# As on the Hub, large files go to a store of their own and a commit names them by their hash.
LFS_SUFFIXES = (".hdf5", ".safetensors", ".gz")


class Hub(ThreadingHTTPServer):
    """The server. `repositories` has the files of each repository by path; `commits` has the paths that each commit changed."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.url = f"http://127.0.0.1:{self.server_address[1]}"
        self.repositories: dict[str, dict[str, bytes]] = {}
        self.private: dict[str, bool] = {}
        self.commits: list[set[str]] = []
        self.stored: dict[str, bytes] = {}


@contextmanager
def running_hub() -> Iterator[Hub]:
    """Yield a server that answers in threads of this process until the block ends."""
    hub = Hub()
    thread = threading.Thread(target=hub.serve_forever)
    thread.start()
    try:
        yield hub
    finally:
        hub.shutdown()
        thread.join()
        hub.server_close()


class _Handler(BaseHTTPRequestHandler):
    server: Hub
    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *arguments: Any) -> None:
        pass

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        path = self.path.partition("?")[0]
        if path == "/api/validate-yaml":
            return self._answer({"errors": [], "warnings": []})
        if self.headers.get("Authorization") != f"Bearer {TOKEN}":
            return self._answer({"error": "Invalid username or password."}, 401)
        if path == "/api/repos/create":
            return self._create(json.loads(body))
        if match := re.fullmatch(r"/api/models/([^/]+/[^/]+)/preupload/main", path):
            files = [
                {**file, "uploadMode": _mode(file["path"]), "shouldIgnore": False} for file in json.loads(body)["files"]
            ]
            return self._answer({"files": files})
        if re.fullmatch(r"/[^/]+/[^/]+\.git/info/lfs/objects/batch", path):
            objects = [
                {**entry, "actions": {"upload": {"href": f"{self.server.url}/lfs/{entry['oid']}"}}}
                for entry in json.loads(body)["objects"]
            ]
            return self._answer({"transfer": "basic", "objects": objects})
        if match := re.fullmatch(r"/api/models/([^/]+/[^/]+)/commit/main", path):
            return self._commit(match[1], [json.loads(line) for line in body.splitlines()])
        self._answer({"error": "not found"}, 404)

    def _create(self, request: dict[str, Any]) -> None:
        name = f"{request['organization']}/{request['name']}"
        is_new = name not in self.server.repositories
        if is_new:
            self.server.repositories[name] = {}
            self.server.private[name] = bool(request.get("private"))
        self._answer({"url": f"{self.server.url}/{name}"}, 200 if is_new else 409)

    def _commit(self, name: str, entries: list[dict[str, Any]]) -> None:
        changed = {}
        for entry in entries:
            value = entry["value"]
            if entry["key"] == "file":
                changed[value["path"]] = base64.b64decode(value["content"])
            elif entry["key"] == "lfsFile":
                changed[value["path"]] = self.server.stored[value["oid"]]
            elif entry["key"] == "deletedFile":
                del self.server.repositories[name][value["path"]]
        self.server.repositories[name].update(changed)
        self.server.commits.append(set(changed))
        self._answer({"commitUrl": f"{self.server.url}/{name}/commit/{self._sha(name)}", "commitOid": self._sha(name)})

    def do_PUT(self) -> None:
        content = self.rfile.read(int(self.headers["Content-Length"]))
        oid = self.path.removeprefix("/lfs/")
        assert hashlib.sha256(content).hexdigest() == oid
        self.server.stored[oid] = content
        self._answer({})

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        if match := re.fullmatch(r"/api/models/([^/]+/[^/]+)(?:/revision/main)?", path):
            files = self.server.repositories.get(match[1])
            if files is not None:
                siblings = [{"rfilename": name} for name in sorted(files)]
                return self._answer({"id": match[1], "sha": self._sha(match[1]), "siblings": siblings})
        if match := re.fullmatch(r"/api/models/([^/]+/[^/]+)/tree/main", path):
            files = self.server.repositories[match[1]]
            return self._answer(
                [
                    {"type": "file", "path": name, "size": len(content), "oid": "0" * 40}
                    for name, content in files.items()
                ]
            )
        if match := re.fullmatch(r"/(.+)/resolve/([^/]+)/(.+)", path):
            if match[1] not in self.server.repositories:
                return self._answer({"error": "Repository not found"}, 404, {"X-Error-Code": "RepoNotFound"})
            content = self.server.repositories[match[1]].get(match[3])
            if content is None:
                return self._answer({"error": "Entry not found"}, 404, {"X-Error-Code": "EntryNotFound"})
            etag = hashlib.sha256(content).hexdigest()
            return self._answer(content, 200, {"X-Repo-Commit": self._sha(match[1]), "ETag": f'"{etag}"'})
        self._answer({"error": "not found"}, 404)

    do_HEAD = do_GET

    def _sha(self, name: str) -> str:
        return hashlib.sha1(repr(sorted(self.server.repositories[name].items())).encode()).hexdigest()

    def _answer(self, content: object, status: int = 200, headers: Optional[dict[str, str]] = None) -> None:
        data = content if isinstance(content, bytes) else json.dumps(content).encode()
        self.send_response(status)
        for name, value in {"Content-Length": str(len(data)), **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)


def _mode(path: str) -> str:
    return "lfs" if path.endswith(LFS_SUFFIXES) else "regular"
