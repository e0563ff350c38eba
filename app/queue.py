"""Names of the worker's tasks. The web process reaches the worker by these alone."""

LEARN = "palimpsest.learn"
GENERATE = "palimpsest.generate"
CAPTION = "palimpsest.caption"  # no job: it says that pictures on teaching pages want captions
TASK_OF = {"learn": LEARN, "generate": GENERATE}

LEARN_QUEUE = "learn"
GENERATE_QUEUE = "generate"
CAPTION_QUEUE = "caption"
QUEUE_OF = {LEARN: LEARN_QUEUE, GENERATE: GENERATE_QUEUE, CAPTION: CAPTION_QUEUE}
