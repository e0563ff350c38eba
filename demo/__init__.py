"""What `make demo` runs: the service from outside, as a program uses it that knows nothing but its REST interface.

It starts a site of its own in a temporary folder, makes the administrator by the first-run link and then an API key,
and does over REST what `storybook.demo` does straight on the library: the same samples, prompts and seeds, the same
report and contact sheet. At the end the library learns the same once more, and both must have made the same bytes.

    site.py        the private site: database, broker, web, worker
    rest.py        the few calls that the demo makes
    story.py       learn, draw, go back, draw, return
    comparison.py  the same learnings by the library alone
    results.py     report, checks, waiting times
"""
