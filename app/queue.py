"""Names of the worker's tasks. The web process reaches the worker by these alone."""

LEARN = "palimpsest.learn"
GENERATE = "palimpsest.generate"
TASK_OF = {"learn": LEARN, "generate": GENERATE}

LEARN_QUEUE = "learn"
GENERATE_QUEUE = "generate"
QUEUE_OF = {LEARN: LEARN_QUEUE, GENERATE: GENERATE_QUEUE}
