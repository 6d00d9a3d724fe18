"""One call to the server, and following a job: retries, deadlines, resumption. No input or output here."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace

from pellucid_client import _policy as policies
from pellucid_client._effects import Close, Emit, Open, Operation, Read, Request, Send, Sleep
from pellucid_client._errors import (
    APIConnectionError,
    APIError,
    APIResponseError,
    APIStatusError,
    JobTimeoutError,
)
from pellucid_client._models import CompletedEvent, JobInfo, read_event
from pellucid_client._policy import Policy
from pellucid_client._response import Response
from pellucid_client._sse import EventDecoder


@dataclass(frozen=True)
class Deadline:
    """When a call is over.

    Attributes:
        end: of `time.monotonic`; None for never.
        seconds: what was given, for messages.
    """

    end: float | None
    seconds: float | None

    @classmethod
    def after(cls, seconds: float | None) -> Deadline:
        """From now on."""
        return cls(None if seconds is None else time.monotonic() + seconds, seconds)

    def remaining(self) -> float | None:
        """Seconds, not below 0; None for no end."""
        return None if self.end is None else max(0.0, self.end - time.monotonic())

    def allows(self, seconds: float) -> bool:
        """Whether so much time is left, and a little more."""
        remaining = self.remaining()
        return remaining is None or remaining > seconds

    def extended(self, seconds: float) -> Deadline:
        """So much later."""
        return self if self.end is None else replace(self, end=self.end + seconds)

    def capped(self, seconds: float) -> float:
        """`seconds`, or what is left of them."""
        remaining = self.remaining()
        return seconds if remaining is None else min(seconds, remaining)


def call(
    request: Request, policy: Policy, deadline: Deadline | None = None, longest: float | None = None
) -> Operation[Response]:
    """Send a request until it succeeds, fails for good, or the time or the retries are used up.

    Args:
        request: what to send.
        policy: how patient to be.
        deadline: for all attempts together; the policy's timeout from now when not given.
        longest: seconds one attempt may take.

    Raises:
        APIStatusError: an error status that no retry mended.
        APIConnectionError: no answer; as `APITimeoutError` when the time is over.
    """
    deadline = deadline or Deadline.after(policy.timeout)
    attempt = 0
    while True:
        attempt += 1
        failure: APIError
        asked: float | None = None
        try:
            response: Response = yield Send(
                request, deadline.remaining() if longest is None else deadline.capped(longest)
            )
        except APIConnectionError as error:
            failure, retried = error, deadline.allows(0.0)
        else:
            response = replace(response, attempts=attempt)
            if response.status_code < 300:
                return response
            if response.status_code < 400:
                raise APIResponseError(_redirected(response), response)
            refusal = response.error()
            failure, retried, asked = refusal, policies.may_pass(refusal), refusal.retry_after
        failure.attempts = attempt
        delay = policy.delay(attempt - 1, asked) if retried and attempt <= policy.max_retries else None
        if delay is None or not deadline.allows(delay):
            raise failure
        yield Sleep(delay)


def _redirected(response: Response) -> str:
    place = response.headers.get("location", "another address")
    return f"the server redirects to {place}; if that is it, give its address as base_url"


def follow_policy(policy: Policy) -> Policy:
    """More patient, for asking about a job: see `FOLLOW_FACTOR`."""
    return replace(policy, max_retries=policy.max_retries * policies.FOLLOW_FACTOR)


def wait(job_id: str, policy: Policy, deadline: Deadline) -> Operation[JobInfo]:
    """The job, once it has ended.

    Raises:
        JobTimeoutError: the time is over; the job goes on.
        APIError: it cannot be asked for.
    """
    patient = follow_policy(policy)
    while True:
        began = time.monotonic()
        seconds = deadline.capped(policies.LONG_POLL)
        headers = {"Accept": "application/json", "Prefer": f"wait={int(seconds)}"}
        request = Request("GET", f"/v1/jobs/{job_id}", headers=headers)
        longest = seconds + policies.GRACE
        try:
            response = yield from call(request, patient, deadline.extended(policies.GRACE), longest)
        except APIConnectionError as error:
            if deadline.allows(0.0):
                raise
            raise JobTimeoutError(job_id, deadline.seconds or 0.0) from error
        job = JobInfo.from_response(response)
        if job.ended:
            return job
        if not deadline.allows(0.0):
            raise JobTimeoutError(job_id, deadline.seconds or 0.0)
        # A server or proxy that does not wait must not be asked without a pause.
        pause = policies.FIRST_DELAY - (time.monotonic() - began)
        if pause > 0:
            yield Sleep(deadline.capped(pause))


def events(job_id: str, policy: Policy, deadline: Deadline, last_event_id: int = 0) -> Operation[JobInfo]:
    """Emit every event of a job after `last_event_id`, each once and in order, over as many connections as it takes.

    Returns:
        the job as it ended.

    Raises:
        JobTimeoutError: the time is over; the job goes on.
        APIError: it cannot be followed.
    """
    patient = follow_policy(policy)
    decoder = EventDecoder(str(last_event_id) if last_event_id else "")
    last, failures = last_event_id, 0
    ended: JobInfo | None = None
    while True:
        headers = {"Accept": "text/event-stream", "Cache-Control": "no-store"}
        if decoder.last_event_id:
            headers["Last-Event-ID"] = decoder.last_event_id
        decoder = EventDecoder(decoder.last_event_id)
        failure: APIError = APIConnectionError("the stream of events ended before the job did")
        asked: float | None = None
        try:
            response: Response = yield Open(
                Request("GET", f"/v1/jobs/{job_id}/events", headers=headers), policies.EVENTS_SILENCE
            )
            _check_stream(response)
            heard = False
            while chunk := (yield Read()):
                if not deadline.allows(0.0):
                    raise JobTimeoutError(job_id, deadline.seconds or 0.0)
                for sent in decoder.feed(chunk):
                    event = read_event(sent)
                    if event is None or (event.id is not None and event.id <= last):
                        continue
                    last, failures, heard = event.id or last, 0, True
                    yield Emit(event)
                    if isinstance(event, CompletedEvent):
                        yield Close()
                        event.job._response = response
                        return event.job
            if ended is not None and not heard:
                return ended
            ended = yield from _if_ended(job_id, policy, deadline)
        except APIConnectionError as error:
            failure = error
        except APIStatusError as error:
            if not policies.may_pass(error):
                raise
            failure, asked = error, error.retry_after
        yield Close()
        failures += 1
        failure.attempts = failures
        delay = patient.delay(failures - 1, asked) if failures <= patient.max_retries else None
        if delay is None:
            raise failure
        delay = max(delay, (decoder.retry or 0) / 1000.0)
        if not deadline.allows(delay):
            raise JobTimeoutError(job_id, deadline.seconds or 0.0) from failure
        yield Sleep(delay)


def _if_ended(job_id: str, policy: Policy, deadline: Deadline) -> Operation[JobInfo | None]:
    """The job if it has ended: a stream that is over without its last event may have had none left to tell.

    It may also have been cut off in an orderly way, by a server that was stopped, and the job have ended since: only
    when it is asked for once more, and tells nothing again, is everything told.
    """
    request = Request("GET", f"/v1/jobs/{job_id}", headers={"Accept": "application/json"})
    job = JobInfo.from_response((yield from call(request, policy, deadline)))
    return job if job.ended else None


def _check_stream(response: Response) -> None:
    if response.status_code >= 400:
        raise response.error()
    if response.media_type != "text/event-stream":
        raise APIResponseError(
            f"a stream of events was expected, not {response.media_type or 'no media type'}; "
            "is this the address of a Pellucid server?",
            response,
        )
