"""Mes Pièces: the evidence behind an order to pay, at the debtor's disposal."""
