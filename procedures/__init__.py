"""What is measured, how it is kept, what it means."""
