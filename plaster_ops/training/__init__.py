"""Training: a gang of Lightning workers as the parent starts it, and what runs in each of them."""
