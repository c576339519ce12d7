"""What is kept and for how long: copies of the data folder, what leaves it readable, what leaves it
for good."""
