"""Label heads: a backbone's last feature map -> logits."""
