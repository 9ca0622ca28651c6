"""What one lab adds to gainbench; see pyproject.toml for the names under which it is found."""
