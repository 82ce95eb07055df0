"""What is asked, in what units it is counted, and when it is answered."""
