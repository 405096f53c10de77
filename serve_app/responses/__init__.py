"""OpenAI's Responses API: translates items to messages, and answers to items and events."""
