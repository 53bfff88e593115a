"""Extensions of Tidemark from outside its services."""
