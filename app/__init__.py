"""The web service and everything persistent. Imports no torch and nothing that needs it: starts in a second."""
