"""Enough of W&B's server for a run to be sent to: it says yes, and keeps what it hears."""

import gzip
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import yaml

PROJECT: dict[str, Any] = {"id": "p", "name": "ddpm_lightning", "entity": {"id": "e", "name": "someone"}}


class Server(ThreadingHTTPServer):
    """Keeps what it hears. runs: of runs. history: their rows, in order. sweep: the file of a sweep. begun: the runs
    that its agent was given, with the options in choices, one set for each run."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Answers)
        self.runs: list[dict[str, Any]] = []
        self.history: list[dict[str, Any]] = []
        self.sweep: dict[str, Any] = {}
        self.choices: list[dict[str, Any]] = []
        self.begun: list[str] = []

    def commands(self, running: list[str]) -> list[dict[str, Any]]:
        """What an agent is to do: one run after the other, and then to exit."""
        if running:
            return []
        if len(self.begun) == len(self.choices):
            return [{"type": "exit"}]
        choice = self.choices[len(self.begun)]
        self.begun.append(f"run{len(self.begun)}")
        arguments = {name: {"value": value} for name, value in choice.items()}
        return [{"type": "run", "run_id": self.begun[-1], "program": self.sweep["program"], "args": arguments}]

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


@contextmanager
def serving() -> Iterator[Server]:
    """A server that answers until the end, or until it is shut down."""
    server = Server()
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()


class Answers(BaseHTTPRequestHandler):
    """GraphQL, and the stream of a run's files."""

    server: Server
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        asked = self._body()
        if "graphql" in self.path:
            self._say(self._graphql(asked))
        elif "file_stream" in self.path:
            rows = asked.get("files", {}).get("wandb-history.jsonl", {}).get("content", [])
            self.server.history += [json.loads(row) for row in rows]
            self._say({"exitcode": None, "limits": {}})
        else:
            self._say({})

    def do_GET(self) -> None:
        self._say({})

    def do_PUT(self) -> None:
        self._body()
        self._say({})

    def _graphql(self, asked: dict[str, Any]) -> dict[str, Any]:
        said = asked.get("variables") or {}
        if "upsertBucket" in asked.get("query", ""):
            self.server.runs.append(said)
            entity = {**PROJECT["entity"], "name": said.get("entity") or PROJECT["entity"]["name"]}
            project = {**PROJECT, "name": said.get("project"), "entity": entity}
            bucket = {"id": "x", "name": said.get("name"), "displayName": said.get("displayName"), "project": project}
            return {"data": {"upsertBucket": {"bucket": bucket, "inserted": True}}}
        if "RunResumeStatus" in asked.get("query", ""):
            return {"data": {"model": {**PROJECT, "bucket": None}}}
        if "upsertSweep" in asked.get("query", ""):
            self.server.sweep = yaml.safe_load(said["config"])
            upserted = {"sweep": {"name": "sweep1", "project": PROJECT}, "configValidationWarnings": []}
            return {"data": {"upsertSweep": upserted}}
        if "SweepWithRuns" in asked.get("query", ""):
            sweep = {"name": "sweep1", "config": yaml.safe_dump(self.server.sweep), "runs": {"edges": []}}
            return {"data": {"project": {"sweep": sweep}}}
        if "createAgent" in asked.get("query", ""):
            return {"data": {"createAgent": {"agent": {"id": "agent1"}}}}
        if "agentHeartbeat" in asked.get("query", ""):
            commands = json.dumps(self.server.commands(list(json.loads(said["runState"]))))
            return {"data": {"agentHeartbeat": {"agent": {"id": "agent1"}, "commands": commands}}}
        if "viewer" in asked.get("query", ""):
            viewer = {"id": "1", "entity": "someone", "flags": "{}", "username": "someone", "teams": {"edges": []}}
            return {"data": {"viewer": viewer}}
        return {"data": None, "errors": [{"message": "not known here"}]}

    def _body(self) -> dict[str, Any]:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        body = gzip.decompress(body) if self.headers.get("Content-Encoding") == "gzip" else body
        try:
            return dict(json.loads(body))
        except ValueError:
            return {}

    def _say(self, answer: dict[str, Any]) -> None:
        body = json.dumps(answer).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        """Says nothing."""
