"""The line client for people: what is typed, what is shown, and the screen between them."""
