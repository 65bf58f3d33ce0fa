"""The networks: timm's encoders (`timm_import`, `encoder`, `convolutions`, `fused_batch_norm`), and what sits on them.

On the features sit the `classifier`, the `heads` of the contrastive loss, and the `class_means`.
"""
