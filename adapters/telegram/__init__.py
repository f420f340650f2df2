"""The spoke of Telegram."""
