"""Text generation: vLLM in process, or any OpenAI-compatible endpoint."""
