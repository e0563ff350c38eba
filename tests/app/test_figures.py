"""What /metrics tells of jobs and workers."""

from app.db import Sessions
from app.jobs.models import WorkerRow
from tests.app.person import Person


def test_the_batches_of_each_worker_are_shown_by_size(ada: Person, sessions: Sessions) -> None:
    batch = {"size": "64x32", "rows": 16, "row_seconds": {"2": 0.018, "8": 0.011}}
    with sessions.begin() as session:
        session.add(WorkerRow(id="one:1:2", device="cpu", holds={"batches": [batch]}))
    numbers = ada.client.get("/metrics").text.splitlines()
    assert 'palimpsest_batch_rows{size="64x32",worker="one:1:2"} 16.0' in numbers
    assert 'palimpsest_row_seconds{rows="8",size="64x32",worker="one:1:2"} 0.011' in numbers


def test_what_each_worker_keeps_of_versions_and_prompts_is_shown(ada: Person, sessions: Sessions) -> None:
    kept = {
        "versions": {"hits": 7, "extended": 3, "misses": 1, "entries": 4, "bytes": 1024},
        "prompts": {"hits": 5, "misses": 2, "entries": 2, "bytes": 4096},
    }
    with sessions.begin() as session:
        session.add(WorkerRow(id="one:1:2", device="cpu", holds=kept))
        session.add(WorkerRow(id="old:1:2", device="cpu", holds={}))
    numbers = ada.client.get("/metrics").text.splitlines()
    assert "palimpsest_workers 2.0" in numbers
    assert 'palimpsest_version_cache_extended{worker="one:1:2"} 3.0' in numbers
    assert 'palimpsest_version_cache_bytes{worker="one:1:2"} 1024.0' in numbers
    assert 'palimpsest_prompt_cache_hits{worker="one:1:2"} 5.0' in numbers
    assert 'palimpsest_prompt_cache_bytes{worker="one:1:2"} 4096.0' in numbers
    assert not [line for line in numbers if "old:1:2" in line]  # a worker of before, which says nothing of it
