"""What image files say of themselves, one format a file, and what it takes to decode them."""
