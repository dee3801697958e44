"""Telling the sender: who is owed a report, and what stands in it."""
