"""What the model server loads: checks and changes of it."""
