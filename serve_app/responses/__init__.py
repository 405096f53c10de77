"""OpenAI's Responses API over `Answering`: items to messages, and answers to items and events."""
