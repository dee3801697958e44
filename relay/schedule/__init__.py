"""What to try, and when."""
