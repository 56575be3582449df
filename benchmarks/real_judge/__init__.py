"""What a real judge is worth, by what it is asked."""
