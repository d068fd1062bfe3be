"""A prediction spread over processes or computers."""
