"""Names of the worker's tasks, and of the queues that they wait in. The web process reaches the worker by these alone.

Each base model has queues of its own, read by the workers that have that base, so that no message comes to one that
cannot do its job. Beside them each worker has one that it alone reads.
"""

LEARN = "palimpsest.learn"
GENERATE = "palimpsest.generate"
CAPTION = "palimpsest.caption"  # no job: it says that pictures on teaching pages want captions
FORGET = "palimpsest.forget"
TASKS = (LEARN, GENERATE, CAPTION, FORGET)
TASK_OF = {"learn": LEARN, "generate": GENERATE, "forget": FORGET}

BASE_LETTERS = 16  # of a base's id, a SHA-256 in hex: enough to tell bases apart


def queue_of(task: str, base_id: str) -> str:
    """Where a message waits for any worker of that base, such as "generate.0a1b2c3d4e5f6071"."""
    return f"{task.rpartition('.')[2]}.{base_id[:BASE_LETTERS]}"


def own_queue_of(worker_id: str) -> str:
    """Where a message waits for one worker."""
    return f"worker.{worker_id}"
