"""Names of the worker's tasks. The web process reaches the worker by these alone."""

LEARN = "palimpsest.learn"
GENERATE = "palimpsest.generate"
CAPTION = "palimpsest.caption"  # no job: it says that pictures on teaching pages want captions
FORGET = "palimpsest.forget"
TASK_OF = {"learn": LEARN, "generate": GENERATE, "forget": FORGET}

LEARN_QUEUE = "learn"
GENERATE_QUEUE = "generate"
CAPTION_QUEUE = "caption"
FORGET_QUEUE = "forget"
QUEUE_OF = {LEARN: LEARN_QUEUE, GENERATE: GENERATE_QUEUE, CAPTION: CAPTION_QUEUE, FORGET: FORGET_QUEUE}
