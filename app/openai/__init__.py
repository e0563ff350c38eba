"""OpenAI's interface for pictures, so that programs that speak it draw with concepts: a history is a model to them."""
