"""Methods on toys whose truth is known: the cards' questions."""
