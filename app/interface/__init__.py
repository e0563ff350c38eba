"""The description of the REST interface: as OpenAPI for programs, as a page for people."""
