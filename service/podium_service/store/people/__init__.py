"""What people said about rankings: orders of their own, and notes."""
