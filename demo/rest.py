"""The calls that the demo makes, over HTTP and with nothing of the service's code. It may be copied from."""

import json
import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

import httpx

OPEN_STATES = ("queued", "running")
WAIT_S = 20  # asked of the service by `Prefer: wait`; then we look around and ask again
SILENCE_S = 60  # a stream says at least every quarter of a minute that it is still there
AGAIN_S = 0.5


class Refused(Exception):
    """The service said no, or a job failed; the sentence is the service's own."""


@dataclass(frozen=True)
class Waited:
    """How long one request took. asked: "learning" or "pictures". about: the concept, or the prompt.

    queued_s: from being asked for to being begun. worked_s: from there to its end. answered_s: on the caller's clock,
    from asking until everything was there.
    """

    asked: str
    version: int
    about: str
    queued_s: float
    worked_s: float
    answered_s: float


class Program:
    """A program with an API key.

    look_around: called while something is waited for; whatever it raises ends the waiting.
    """

    def __init__(
        self,
        api: str,
        key: str,
        look_around: Callable[[], None] = lambda: None,
        transport: httpx.BaseTransport | None = None,
    ):
        self._http = httpx.Client(
            base_url=api,
            headers={"Authorization": f"Bearer {key}"},
            timeout=httpx.Timeout(30, read=WAIT_S + 30),
            trust_env=False,  # a proxy of the environment knows nothing of this machine's own ports
            transport=transport,
        )
        self._look_around = look_around

    def __enter__(self) -> "Program":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._http.close()

    def get(self, path: str) -> Any:
        return checked(self._http.get(path)).json()

    def fetch(self, path: str) -> bytes:
        """A file. path: as an answer names it, from the root of the site."""
        return checked(self._http.get(self._http.base_url.join(path))).content

    def post(self, path: str, body: Mapping[str, Any], **headers: str) -> Any:
        return checked(self._http.post(path, json=body, headers=headers)).json()

    # --- what the demo does ------------------------------------------------------------------------------------------

    def begin_history(self, name: str) -> Any:
        """A history whose head follows every learning, damaging or not: the demo shows one line of versions."""
        history = self.post("/histories", {"name": name})
        return checked(self._http.patch(f"/histories/{history['id']}", json={"guards_head": False})).json()

    def teach(
        self, history_id: str, name: str, class_noun: str, pictures: Sequence[Path], settings: Mapping[str, Any]
    ) -> Any:
        """Send the pictures; returns the job that learns from them. Their captions are left to the service."""
        answer = self._http.post(
            f"/histories/{history_id}/concepts",
            data={"name": name, "class_noun": class_noun, "settings": json.dumps(dict(settings))},
            files=[("pictures", (path.name, path.read_bytes())) for path in pictures],
        )
        return checked(answer).json()["job"]

    def watch(self, job_id: str, on_progress: Callable[[str, int, int], None]) -> Any:
        """Follow a job to its end; returns it as it then is. Refused when it failed.

        on_progress(stage, done, total): a stage that another one follows is done, though nobody says so.
        """
        stage, total = "", 0
        for kind, data in self.events(job_id):
            self._look_around()
            if kind == "progress":
                if stage and stage != data["stage"]:
                    on_progress(stage, total, total)
                stage, total = data["stage"], data["steps_total"]
                on_progress(stage, data["step"], total)
        job = ended_well(self.get(f"/jobs/{job_id}"))
        if stage:
            on_progress(stage, total, total)
        return job

    def events(self, job_id: str) -> Iterator[tuple[str, Any]]:
        """(kind, data) of everything that happens to a job. A stream that breaks off is taken up where it was."""
        last = ""
        while True:
            headers = {"Last-Event-ID": last} if last else {}
            try:
                with self._http.stream("GET", f"/jobs/{job_id}/events", headers=headers, timeout=SILENCE_S) as answer:
                    if answer.is_error:
                        answer.read()
                    for kind, data, event_id in read_events(checked(answer).iter_lines()):
                        last = event_id or last
                        yield kind, data
            except httpx.TransportError:
                self._look_around()
            if self.get(f"/jobs/{job_id}")["state"] not in OPEN_STATES:
                return
            time.sleep(AGAIN_S)

    def generate(self, history_id: str, **asked: Any) -> Any:
        """Ask for pictures and wait until they are there; returns the generation. Refused when it failed."""
        path = f"/histories/{history_id}/generations"
        generation = self.post(path, asked, Prefer=f"wait={WAIT_S}")
        while generation["job"]["state"] in OPEN_STATES:
            self._look_around()
            self.watch(generation["job"]["id"], lambda *_: None)
            generation = self.get(f"/generations/{generation['id']}")
        ended_well(generation["job"])
        return generation

    def versions(self, history_id: str) -> list[Any]:
        """Every version, over as many pages as there are."""
        found: list[Any] = []
        more = ""
        while True:
            page = self.get(f"/histories/{history_id}/versions{more}")
            found += page["items"]
            if page["next"] is None:
                return found
            more = f"?cursor={page['next']}"

    def move_head(self, history_id: str, version: int) -> Any:
        return self.post(f"/histories/{history_id}/head", {"version": version})


def read_events(lines: Iterator[str]) -> Iterator[tuple[str, Any, str]]:
    """Server-sent events -> (kind, data, id; "" without one). Comments are passed over."""
    fields: dict[str, str] = {}
    for line in lines:
        if not line:
            if "data" in fields:
                yield fields.get("event", "message"), json.loads(fields["data"]), fields.get("id", "")
            fields = {}
        elif not line.startswith(":"):
            name, _, value = line.partition(":")
            fields[name] = value.removeprefix(" ")


def checked(answer: httpx.Response) -> httpx.Response:
    """The answer; Refused with the sentence of its problem details when it is an error."""
    if not answer.is_error:
        return answer
    try:
        sentence = answer.json()["detail"]
    except (ValueError, KeyError, TypeError):
        sentence = answer.reason_phrase
    raise Refused(f"{answer.request.method} {answer.request.url.path}: {answer.status_code}, {sentence}")


def ended_well(job: Any) -> Any:
    """The job; Refused, in the service's own words, when it failed or was cancelled."""
    if job["state"] != "done":
        raise Refused(job["error"] or f"The job ended as {job['state']}.")
    return job


def become_administrator(link: str, name: str, password: str, key_name: str) -> str:
    """What a person does first: open the one-time link, fill in the form, make an API key. Returns the key.

    The form and the log-in are pages. The key is made over REST, with the browser's cookie and its forms' token.
    """
    with httpx.Client(timeout=30, trust_env=False, follow_redirects=True) as browser:
        page = checked(browser.get(link))
        form = {"token": httpx.URL(link).params["token"], "name": name, "password": password}
        token = _found(r'name="csrf_token" value="([^"]+)"', page.text)
        address = page.url.join("/first-run")
        landed = checked(browser.post(address, data=form | {"csrf_token": token}))
        token = _found(r'<meta name="csrf-token" content="([^"]+)"', landed.text)
        made = browser.post(page.url.join("/api/v1/api-keys"), json={"name": key_name}, headers={"X-CSRF-Token": token})
        return str(checked(made).json()["key"])


def _found(pattern: str, text: str) -> str:
    match = re.search(pattern, text)
    if match is None:
        raise Refused("The page is not the one that was expected: it has no token for its forms.")
    return match[1]
