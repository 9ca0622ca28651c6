"""What the bench is made of: roles, the drivers that fill them, and the Bench that holds them."""
