"""Many people's versions on one live model: what that costs, beside how other programs serve adapters."""
