"""What is measured on the bench, how it is kept, and what it means."""
