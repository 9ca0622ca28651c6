"""One device family a file; each driver speaks one protocol and fills one role."""
