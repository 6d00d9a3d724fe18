"""What a job made: the picture and parts of it, the uncertainty map, the report; and when there is none."""

from __future__ import annotations

import hashlib
import io
import re
import time

import numpy as np
from PIL import Image


def test_the_result_is_what_the_synchronous_answer_was(server, picture):
    answer = server.client.post("/v1/denoise?noise=20&seed=4", content=picture())
    path = f"/v1/jobs/{answer.headers['pellucid-job']}/result"
    result = server.client.get(path)
    assert result.content == answer.content
    assert result.headers["content-type"] == "image/png"
    assert result.headers["etag"] == f'"{hashlib.sha256(result.content).hexdigest()}"' == answer.headers["etag"]
    assert result.headers["content-disposition"].endswith('.png"')
    assert result.headers["cache-control"] == "private, no-store"
    for headers in (answer.headers, result.headers):
        stages = re.findall(r"(\w+);dur=\d+\.\d", headers["server-timing"])
        assert stages == ["queue", "decode", "restore", "encode"]
        assert headers["pellucid-seed"] == "4"
        assert headers["pellucid-model"]
    described = server.client.get(path, headers={"Accept": "application/json"})
    assert described.json()["result"]["sha256"] == hashlib.sha256(result.content).hexdigest()
    assert server.client.get(path, headers={"Accept": "image/jpeg"}).status_code == 406


def test_parts_and_revalidation(server, picture):
    whole = server.client.post("/v1/denoise", content=picture())
    path, data = f"/v1/jobs/{whole.headers['pellucid-job']}/result", whole.content
    for asked, part in (("0-9", data[:10]), ("5-", data[5:]), ("-7", data[-7:]), (f"3-{10**9}", data[3:])):
        answer = server.client.get(path, headers={"Range": f"bytes={asked}"})
        assert (answer.status_code, answer.content) == (206, part)
        first = len(data) - 7 if asked == "-7" else int(asked.partition("-")[0])
        assert answer.headers["content-range"] == f"bytes {first}-{first + len(part) - 1}/{len(data)}"
    for ignored in ("bytes=9-3", "lines=1-2", "bytes=a-b", "bytes=0-1,3-4", f"bytes={len(data)}-"):
        assert server.client.get(path, headers={"Range": ignored}).status_code == 200
    stale = server.client.get(path, headers={"Range": "bytes=0-9", "If-Range": '"other"'})
    assert stale.status_code == 200
    etag = whole.headers["etag"]
    for tags in (etag, f'"a", {etag}', "*", f"W/{etag}"):
        assert server.client.get(path, headers={"If-None-Match": tags}).status_code == 304


def test_uncertainty_and_report(server, picture):
    several = server.client.post("/v1/denoise?samples=4&seed=1", content=picture())
    path = f"/v1/jobs/{several.headers['pellucid-job']}"
    spread = server.client.get(f"{path}/uncertainty")
    assert spread.headers["content-type"] == "image/png"
    with Image.open(io.BytesIO(spread.content)) as shown:
        assert shown.size == (24, 16)
        assert np.asarray(shown).max() > 0
        assert float(shown.info["Scale"]) > 0
    report = server.client.get(f"{path}/report").json()
    assert {"seed", "nfe", "residual", "prior", "digest", "degraded"} <= set(report)
    assert server.client.get(path).json()["links"]["uncertainty"] == f"{path}/uncertainty"
    assert server.client.get(f"{path}/uncertainty", headers={"Accept": "image/jpeg"}).status_code == 406
    assert server.client.get(f"{path}/report", headers={"Accept": "image/png"}).status_code == 406
    one = server.client.post("/v1/denoise", content=picture()).headers["pellucid-job"]
    missing = server.client.get(f"/v1/jobs/{one}/uncertainty")
    assert (missing.status_code, missing.json()["code"]) == (404, "not_found")


def test_there_is_no_result_before_the_end_nor_after_a_failure(serve, picture):
    with serve(prior="slow:seconds=0.1") as server:
        job_id = server.submit(picture(), steps=200, fidelity=0)
        for end in ("result", "report", "uncertainty"):
            early = server.client.get(f"/v1/jobs/{job_id}/{end}")
            assert (early.status_code, early.json()["code"]) == (409, "not_finished")
        server.client.post(f"/v1/jobs/{job_id}/cancel")
    with serve(prior="wrong") as server:
        answer = server.client.post("/v1/denoise", content=picture())
        assert (answer.status_code, answer.json()["code"]) == (500, "internal")
        assert "secret" not in answer.text
        job_id = answer.json()["job"]
        failed = server.client.get(f"/v1/jobs/{job_id}/result")
        assert (failed.status_code, failed.json()["code"]) == (409, "job_failed")
        assert server.client.get(f"/v1/jobs/{job_id}").json()["error"]["code"] == "internal"


def test_results_expire(serve, picture):
    with serve(retention_seconds=0.1) as server:
        job_id = server.submit(picture())
        server.ended(job_id)
        time.sleep(0.2)
        server.service.store.expire(10)
        gone = server.client.get(f"/v1/jobs/{job_id}/result")
        assert (gone.status_code, gone.json()["code"]) == (410, "expired")
