"""Same-person pairs of vertebral bodies: volumes, the pairs drawn from them, and what is learned of them."""
